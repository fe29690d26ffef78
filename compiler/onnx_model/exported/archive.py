"""What is safe of an exported program's file, for PyTorch's own reader.

`torch.export.load` unpickles, evaluates sizes as Python text, imports modules that a file names and
compiles its guards. What reaches it here are tensors, and a graph of PyTorch's own operators.
"""

import io
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgekiln.compiler.onnx_model.model_bytes import model_bytes
from edgekiln.compiler.onnx_model.sizes import check_size
from edgekiln.runtime.codec import loads
from edgekiln.runtime.errors import InputError, UnsupportedError

HINT = "write it by torch.export.save(torch.export.export(model.eval(), inputs), path)"

_MODEL = "models/model.json"
_SAMPLE = "data/sample_inputs/model.pt"
_CONFIGS = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")
# Members that say what the file is; `data/weights/weight_0` and the like are the tensors' bytes.
_KEPT = ("archive_format", "archive_version", ".data/version", "byteorder", _MODEL, *_CONFIGS)
_TENSOR = re.compile(r"data/(weights/weight|constants/tensor)_\d{1,9}")

# PyTorch's own operators, and the arithmetic on sizes that stands beside them.
_OPERATOR = re.compile(
    r"torch\.ops\.(aten|prims|quantized_decomposed)\.(?!.*file)"
    r"(__(and|or|xor|lshift|rshift)__|_?[a-z0-9]\w*)\.[A-Za-z]\w*"
    r"|torch\.ops\.higher_order\.wrap_with_(set_grad_enabled|autocast)"
    r"|_operator\.(add|and_|eq|floordiv|ge|getitem|gt|le|lt|mod|mul|ne|neg|not_|or_|pow|sub|truediv)"
    r"|math\.(ceil|floor|trunc|sqrt)|torch\.sym_[a-z]+"
)
# A size is arithmetic on symbols, as sympy writes it: s77 of a tensor's extent, u0 of data. Powers
# are small ones of symbols alone: Pow(9, Pow(9, 9)) would never end.
_SYMBOL = r"Symbol\('(s|u|zuf|zf)\d+'(, [a-z]+=(True|False))*\)"
_SIZE = re.compile(
    rf"({_SYMBOL}|Pow\({_SYMBOL}, Integer\(-?[1-4]\)\)|Integer\(-?\d+\)|Rational\(-?\d+, \d+\)|"
    r"(s|u|zuf|zf)?\d+|Add|And|CeilDiv|CeilToInt|CleanDiv|Eq|Equality|FloatTrueDiv|FloorDiv|"
    r"FloorToInt|GreaterThan|Identity|IntTrueDiv|LessThan|Max|Min|Mod|Mul|Ne|Not|Or|PythonMod|"
    r"RoundToInt|StrictGreaterThan|StrictLessThan|ToFloat|TruncToInt|Unequality|Where|true|false|"
    r"True|False|int_oo|oo|[-+*/(),<>=!&|~ ])*"
)
_LONGEST_SIZE, _LONGEST_NUMBER = 1000, 20

_Json = Any  # what a file may say


def safe_archive(path: Path) -> tuple[io.BytesIO, bytes]:
    """The file as `torch.export.load` may have it, and the user's sample input: a file of
    `torch.save`, to be read with `weights_only`.

    Raises:
        InputError: no such file, or none of `torch.export.save`.
        UnsupportedError: it has Python objects, operators that are not PyTorch's own, or tensors
            that are too large.
    """
    where = str(path)
    members = _members(model_bytes(path), where)
    program = _json(members, _MODEL, where)
    try:
        for config in _CONFIGS:
            members[config] = _checked_tensors(_json(members, config, where), where)
        members[_MODEL] = json.dumps(_checked_program(program, where)).encode()
    except (AttributeError, LookupError, TypeError) as error:
        # A number where the format has a list, and the like.
        raise InputError(f"{where}: its documents make no sense: {error}", HINT) from error
    sample = members.get(_SAMPLE, b"")
    kept = {name: members[name] for name in members if name in _KEPT or _TENSOR.fullmatch(name)}
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, content in (kept | {_SAMPLE: b""}).items():
            archive.writestr(f"model/{name}", content)
    stream.seek(0)
    return stream, sample


def _members(content: bytes, where: str) -> dict[str, bytes]:
    """The file's members by their names, without the folder that they all lie in."""
    damaged = InputError(f"{where}: not a file of torch.export.save, or damaged", HINT)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            found = archive.infolist()
            # torch stores; what is compressed may be of any size.
            if any(each.compress_type != zipfile.ZIP_STORED for each in found):
                raise damaged
            names = [each.filename.partition("/")[2] for each in found]
            if len(set(names)) < len(names):
                raise damaged
            members = dict(zip(names, map(archive.read, found), strict=True))
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError, RuntimeError) as error:
        raise damaged from error
    models = [name for name in members if name.startswith("models/")]
    if members.get("archive_format") != b"pt2" or not models:
        raise damaged
    if models != [_MODEL]:
        raise UnsupportedError(
            f"{where}: holds {len(models)} programs, not one that is called 'model'",
            hint="write it by torch.export.save(program, path)",
        )
    return members


def _json(members: Mapping[str, bytes], name: str, where: str) -> dict[str, _Json]:
    try:
        found = loads(members[name])
    except (KeyError, ValueError, RecursionError) as error:
        raise InputError(f"{where}: {name} is missing or damaged", HINT) from error
    if not isinstance(found, dict):
        raise InputError(f"{where}: {name} is damaged", HINT)
    return found


def _checked_tensors(config: dict[str, _Json], where: str) -> bytes:
    entries = config.get("config")
    if not isinstance(entries, dict):
        raise InputError(f"{where}: its list of tensors is damaged", HINT)
    for name, entry in entries.items():
        meta = entry.get("tensor_meta") if isinstance(entry, dict) else None
        if not isinstance(meta, dict) or entry.get("use_pickle") is not False:
            raise UnsupportedError(
                f"{where}: {name!r} is a Python object, not a plain tensor",
                hint="loading it could run code: export the model in plain, dense tensors",
            )
        sizes = [size["as_int"] for size in meta["sizes"]]
        if not all(type(size) is int for size in sizes):
            raise InputError(f"{where}: tensor {name!r} has no size", HINT)
        check_size(sizes, name, where)
        meta["device"] = {"type": "cpu", "index": None}
    return json.dumps({"config": entries}).encode()


def _checked_program(program: dict[str, _Json], where: str) -> dict[str, _Json]:
    """The program with flat inputs and outputs, on the CPU, without Python text."""
    module = program.get("graph_module")
    signature = module.get("signature") if isinstance(module, dict) else None
    if not isinstance(module, dict) or not isinstance(signature, dict):
        raise InputError(f"{where}: {_MODEL} is damaged", HINT)
    for part in _dicts(program):
        _check_part(part, where)
    for symbol in program.get("range_constraints", {}):
        _check_size(symbol, where)
    takes = _names(signature, "input_specs", ("user_input", "constant_input"))
    gives = _names(signature, "output_specs", ("user_output",))
    inputs = _spec("builtins.tuple", "null", [_LEAF] * len(takes))
    call = _spec("builtins.tuple", "null", [inputs, _spec("builtins.dict", "[]", [])])
    flat = {
        "inputs": [],
        "outputs": [],
        "in_spec": json.dumps([1, call]),
        "out_spec": json.dumps([1, _spec("builtins.tuple", "null", [_LEAF] * len(gives))]),
        "forward_arg_names": takes,
    }
    module["module_call_graph"] = [{"fqn": "", "signature": flat}]
    module["treespec_namedtuple_fields"] = {}
    module["metadata"] = {}
    program["guards_code"] = []
    program["verifiers"] = ["TRAINING"]
    return program


_LEAF: Mapping[str, _Json] = {"type": None, "context": None, "children_spec": []}


def _spec(kind: str, context: str, children: list[Mapping[str, _Json]]) -> Mapping[str, _Json]:
    return {"type": kind, "context": context, "children_spec": children}


def _names(signature: Mapping[str, _Json], key: str, kinds: tuple[str, ...]) -> list[str]:
    """What a program's inputs or outputs are called, those of the given kinds."""
    found: list[str] = []
    for spec in signature.get(key) or ():
        for kind in kinds:
            if kind in spec:
                said = [part["name"] for part in _dicts(spec[kind]) if "name" in part]
                found.append(str(said[0]) if said else f"{kind}_{len(found)}")
    return found


def _dicts(content: _Json) -> Iterator[dict[str, _Json]]:
    """Every dict in a JSON document, the outermost first."""
    waiting = [content]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            yield found
            waiting += found.values()
        elif isinstance(found, list):
            waiting += found


def _check_part(part: dict[str, _Json], where: str) -> None:
    """Refuse what would be run or imported, and forget what only tells where a node comes from."""
    if "target" in part and "inputs" in part:
        target = part["target"]
        if not (isinstance(target, str) and _OPERATOR.fullmatch(target)):
            raise UnsupportedError(
                f"{where}: holds {str(target)[:80]}, no plain operator of PyTorch",
                hint="operators of your own and control flow stay outside: export the rest",
            )
        known = part.get("metadata")
        stack = known.get("nn_module_stack") if isinstance(known, dict) else None
        part["metadata"] = {"nn_module_stack": stack} if isinstance(stack, str) else {}
    if "expr_str" in part:
        _check_size(part["expr_str"], where)
    for key in ("as_operator", "as_custom_obj", "custom_obj", "custom_obj_values"):
        if part.get(key):
            raise UnsupportedError(
                f"{where}: holds Python objects ({key})",
                hint="export the model in plain tensors and PyTorch's own operators",
            )
    for key in ("device", "as_device"):
        if key in part:
            part[key] = {"type": "cpu", "index": None}


def _check_size(text: _Json, where: str) -> None:
    fits = (
        isinstance(text, str)
        and len(text) <= _LONGEST_SIZE
        and _SIZE.fullmatch(text)
        and "**" not in text
        and all(len(digits) < _LONGEST_NUMBER for digits in re.findall(r"\d+", text))
    )
    if not fits:
        raise InputError(f"{where}: {str(text)[:80]!r} is no size", HINT)
