"""`name?key=value&key=value`: how models and data sets are named."""

from edgekiln.runtime.errors import ConfigError

Value = int | float | bool | str | None

_WORDS: dict[str, Value] = {"true": True, "false": False, "none": None}


def split(spec: str) -> tuple[str, dict[str, str]]:
    """`"cifar.npz?scale=1&mean=0"` → `("cifar.npz", {"scale": "1", "mean": "0"})`.

    Raises:
        ConfigError: an option without `=`, without a key, or given twice.
    """
    name, _, query = spec.partition("?")
    options: dict[str, str] = {}
    for item in query.split("&") if query else []:
        key, equals, value = item.partition("=")
        if not (key and equals):
            raise ConfigError(
                f"{spec}: {item!r} is not an option",
                hint="write options as name?key=value&key=value",
            )
        if key in options:
            raise ConfigError(f"{spec}: option {key!r} is given twice", hint="keep one of the two")
        options[key] = value
    return name, options


def join(name: str, options: dict[str, str]) -> str:
    """The inverse of `split`."""
    query = "&".join(f"{key}={value}" for key, value in options.items())
    return f"{name}?{query}" if query else name


def typed(text: str) -> Value:
    """The Python value an option spells: int, float, true, false, none, else the text itself."""
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    # In this order: 3 is a whole number.
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
