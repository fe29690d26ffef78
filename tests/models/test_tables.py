"""CSV and Parquet: columns become features and targets, or it is said which value cannot."""

import importlib.util

import numpy as np
import pytest

from edgekiln.models import data
from edgekiln.runtime.errors import ConfigError, InputError, MissingToolError
from tests.models.murmur import murmur3

HEADER = "rooms,area,kind,price\n"


def houses(tmp_path, *, rows=40, extra=(), header=HEADER):
    draw = np.random.default_rng(0)
    lines = [
        f"{draw.integers(1, 6)},{area:.1f},{'flat' if area < 100 else 'house'},{1000 * area:.0f}"
        for area in draw.uniform(30, 200, rows)
    ]
    path = tmp_path / "houses.csv"
    path.write_text(header + "\n".join([*lines, *extra]) + "\n", encoding="utf-8")
    return path


def test_numbers_are_told_and_every_column_has_its_own_scale(tmp_path):
    loaded = data.load(f"{houses(tmp_path)}?target=price&columns=rooms,area")
    assert loaded.task == "regression"
    assert loaded.classes == ()
    x = loaded.ready(loaded.train.inputs)[""]
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(x.std(axis=0), 1, atol=1e-4)
    np.testing.assert_allclose(loaded.train.y[:, 0], 1000 * loaded.train.x[:, 1], atol=100)


def test_words_are_classes(tmp_path):
    loaded = data.load(f"{houses(tmp_path)}?target=kind")
    assert (loaded.task, loaded.classes) == ("classification", ("flat", "house"))
    assert loaded.train.x.shape[1] == 3
    assert ((loaded.train.x[:, 1] >= 100) == loaded.train.y).all()


def test_two_targets_are_two_heads_or_one_vector(tmp_path):
    path = houses(tmp_path)
    heads = data.load(f"{path}?target=kind,price&task=kind=classification,price=regression")
    assert heads.train.targets["kind"].dtype == np.int64
    assert heads.train.targets["price"].shape[1:] == (1,)
    assert heads.train.x.shape[1] == 2
    vector = data.load(f"{path}?target=rooms,price&columns=area")
    assert vector.train.y.shape[1:] == (2,)


def test_semicolons_and_the_usual_name_of_a_target_are_understood(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a;y\n" + "\n".join(f"{i};{i % 2}" for i in range(30)), encoding="utf-8-sig")
    assert data.load(f"{path}?task=classification").classes == ("0", "1")
    assert data.load(str(path)).task == "regression"


@pytest.mark.parametrize(
    ("extra", "message", "hint"),
    [
        ("3,big,flat,90000", "row 42, column 'area': 'big' is no number", "leave the column out"),
        ("3,,flat,90000", "row 42, column 'area': is empty", "fill it in"),
        ("3,nan,flat,90000", "row 42, column 'area': nan is not finite", "fill it in"),
        ("3,50,flat,dear", "row 42, column 'price': 'dear' is no number", "leave the column out"),
        ("3,50,flat", "row 42 has 3 fields, the first one 4", "quote fields"),
    ],
)
def test_one_bad_value_is_named_by_row_and_column(tmp_path, extra, message, hint):
    path = houses(tmp_path, extra=[extra])
    with pytest.raises(InputError) as caught:
        data.load(f"{path}?target=price&columns=rooms,area")
    assert caught.value.message == f"{path}: {message}"
    assert caught.value.hint.startswith(hint)


def test_a_column_of_words_is_no_feature(tmp_path):
    path = houses(tmp_path)
    with pytest.raises(InputError) as caught:
        data.load(f"{path}?target=price")
    assert caught.value.message.startswith(f"{path}: row 2, column 'kind': '")
    assert "?columns=a,b" in caught.value.hint


def test_columns_that_are_not_there_are_refused(tmp_path):
    path = houses(tmp_path)
    with pytest.raises(ConfigError) as caught:
        data.load(f"{path}?target=prise")
    assert (caught.value.message, caught.value.hint) == (
        f"{path}: no column 'prise'",
        "did you mean price?",
    )
    with pytest.raises(ConfigError, match="which column is the target") as caught:
        data.load(str(path))
    assert caught.value.hint == "say ?target=NAME; there are rooms, area, kind, price"


def test_a_table_without_names_is_refused(tmp_path):
    path = houses(tmp_path, header="1,2,flat,2\n")
    with pytest.raises(InputError, match="does not name every column once"):
        data.load(f"{path}?target=price")


def test_parquet_is_read_or_the_package_is_named(tmp_path):
    path = tmp_path / "t.parquet"
    if importlib.util.find_spec("pyarrow"):
        import pyarrow
        from pyarrow import parquet

        columns = {"a": [float(i) for i in range(30)], "y": [i % 2 for i in range(30)]}
        parquet.write_table(pyarrow.table(columns), path)
        loaded = data.load(f"{path}?task=classification")
        assert (loaded.train.x[:, 0] % 2 == loaded.train.y).all()
        path.write_bytes(path.read_bytes()[:50])
        with pytest.raises(InputError, match="cannot be read"):
            data.load(f"{path}?task=classification")
    else:
        path.write_bytes(b"PAR1")
        with pytest.raises(MissingToolError) as caught:
            data.load(str(path))
        assert "edgekiln[tables]" in caught.value.hint


EDGES = np.array([0, 18, 35.5], np.float32)


def people(tmp_path, *extra):
    """Ages, some of which are missing, and ids that float64 does not hold."""
    draw = np.random.default_rng(0)
    ages = [*draw.uniform(-5, 90, 57).round(1).tolist(), "", "nan", "1e60"]
    ids = [int(each) for each in draw.integers(-(2**63), 2**63 - 1, len(ages))]
    rows = [
        f"{n},{age},{user},{n % 2}" for n, (age, user) in enumerate(zip(ages, ids, strict=True))
    ]
    path = tmp_path / "people.csv"
    path.write_text("\n".join(["n,age,user,y", *rows, *extra]) + "\n", encoding="utf-8")
    return path, ages, ids


def all_of(loaded, name):
    """A column in the order of the file, which the column n has."""
    splits = (loaded.train, loaded.val, loaded.calib, loaded.test)
    order = np.argsort(np.concatenate([split.inputs["rest"][:, 0] for split in splits]))
    return np.concatenate([split.inputs[name] for split in splits])[order]


def test_columns_become_buckets_and_hashes_beside_numbers_as_they_are(tmp_path):
    path, ages, ids = people(tmp_path)
    spec = f"{path}?target=y&buckets=age:0,18,35.5&hash=user:100&inputs=rest"
    loaded = data.load(spec)
    assert [(k, str(v.dtype), v.shape[1:]) for k, v in loaded.train.inputs.items()] == [
        ("rest", "float32", (1,)), ("age", "int64", (1,)), ("user", "int64", (1,)),
    ]  # fmt: skip
    assert loaded.preprocessing is None
    with np.errstate(over="ignore"):
        floats = np.array([float(each or "nan") for each in ages]).astype(np.float32)
    right = np.searchsorted(EDGES, floats, side="right")[:, None]
    np.testing.assert_array_equal(all_of(loaded, "age"), right)
    hashes = [[murmur3(np.int64(each).tobytes()) % 100] for each in ids]
    assert all_of(loaded, "user").tolist() == hashes


def test_parquet_makes_the_same_indices(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    path, ages, ids = people(tmp_path)
    columns = {
        "n": [*range(len(ages))], "age": [None if a == "" else float(a) for a in ages],
        "user": ids, "y": [n % 2 for n in range(len(ages))],
    }  # fmt: skip
    parquet = importlib.import_module("pyarrow.parquet")
    parquet.write_table(pyarrow.table(columns), tmp_path / "people.parquet")
    options = "?target=y&buckets=age:0,18,35.5&hash=user:100&inputs=rest"
    of_csv, of_parquet = (
        data.load(f"{path}{options}"),
        data.load(f"{path.with_suffix('.parquet')}{options}"),
    )
    for name in ("age", "user"):
        np.testing.assert_array_equal(all_of(of_csv, name), all_of(of_parquet, name))


@pytest.mark.parametrize(
    ("name", "option", "goes_with"),
    [
        ("digits", "hash=user:5", "tables"),
        ("digits", "target=y", "tables"),
        ("digits", "columns=a,b", "tables"),
        ("digits", "text=review", "tables"),
        ("digits", "vocabulary=vocab.txt", "texts"),
        ("digits", "inputs=x", "texts, buckets and hash"),
        ("digits", "seconds=1", "sounds"),
        ("tones", "mel=40", "sounds"),
        ("hum", "rate=16000", "sounds"),
        ("houses.csv", "size=96", "pictures"),
        ("houses.csv", "mfcc=13", "sounds"),
        ("houses.csv", "length=12", "texts"),
        ("houses.csv", "inputs=x", "texts, buckets and hash"),
        ("images.npz", "target=y", "tables"),
        ("images.npz", "rate=16000", "sounds"),
        ("lines.txt", "columns=a", "tables"),
        ("lines.txt", "size=96", "pictures"),
    ],
)
def test_an_option_that_nothing_would_read_is_refused_by_its_name(
    tmp_path, monkeypatch, name, option, goes_with
):
    monkeypatch.chdir(tmp_path)
    houses(tmp_path)
    np.savez("images.npz", x=np.zeros((40, 2, 2), np.uint8), y=np.arange(40) % 2)
    (tmp_path / "lines.txt").write_text("a line\n", encoding="utf-8")
    load = data.load_samples if name.endswith(".txt") else data.load
    with pytest.raises(ConfigError) as caught:
        load(f"{name}?{option}", 0)
    key = option.partition("=")[0]
    assert caught.value.message == f"{name}: option {key!r} goes with {goes_with}"
    assert caught.value.hint.startswith("leave it out, or ")


def test_names_that_python_reads_as_numbers_are_names(tmp_path):
    path = tmp_path / "months.csv"
    months = ["2024_01", "2024_02", "2024_03"]
    rows = [f"{n},{months[n % 3]}" for n in range(60)]
    path.write_text("\n".join(["n,y", *rows]) + "\n", encoding="utf-8")
    loaded = data.load(str(path))
    assert (loaded.task, loaded.classes) == ("classification", tuple(months))
    path.write_text("\n".join(["n,y", *rows, "1_0,2024_01"]) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match="row 62, column 'n': '1_0' is no number"):
        data.load(str(path))


def test_words_that_parquet_holds_as_bytes_are_words(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    write = importlib.import_module("pyarrow.parquet").write_table
    path = tmp_path / "kinds.parquet"
    numbers = [float(n) for n in range(60)]
    write(pyarrow.table({"n": numbers, "y": ["café".encode(), b"dog"] * 30}), path)
    assert data.load(str(path)).classes == ("café", "dog")
    write(pyarrow.table({"n": numbers, "y": [b"caf\xe9", b"dog"] * 30}), path)
    with pytest.raises(InputError, match=r"cannot be read: .*UTF8"):
        data.load(str(path))


def test_a_missing_class_in_parquet_is_none_of_the_classes(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    kinds = ["cat", "dog"] * 30
    table = pyarrow.table({"n": [float(n) for n in range(61)], "y": [*kinds, None]})
    path = tmp_path / "kinds.parquet"
    importlib.import_module("pyarrow.parquet").write_table(table, path)
    with pytest.raises(InputError, match="row 62, column 'y': is empty"):
        data.load(str(path))


@pytest.mark.parametrize(
    ("options", "extra", "message"),
    [
        ("buckets=age:0,0", "", "buckets: edges 0,0 of 'age' do not ascend"),
        ("buckets=agee:0", "", "no column 'agee'"),
        ("hash=user:0", "", "hash: '0' of 'user' is no number of indices"),
        ("hash=y:5", "", "column 'y' is a target"),
        ("buckets=age:0&hash=age:5", "", "column 'age' is in buckets and in hash"),
        ("buckets=age:0&scale=2", "", "scale, mean and std do not go with buckets"),
        ("buckets=age:0&inputs=age", "", "which input takes the columns"),
        ("buckets=age:0", "1,old,3,0", "row 62, column 'age': 'old' is no number"),
        ("hash=user:5", "1,2,3.5,0", "row 62, column 'user': '3.5' is no whole number of 64 bits"),
        ("hash=user:5", "1,2,,0", "row 62, column 'user': '' is no whole number of 64 bits"),
        ("hash=user:5", f"1,2,{2**63},0", "is no whole number of 64 bits"),
    ],
)
def test_columns_without_indices_are_refused(tmp_path, options, extra, message):
    path, _, _ = people(tmp_path, *filter(None, [extra]))
    with pytest.raises((ConfigError, InputError)) as caught:
        data.load(f"{path}?target=y&{options}")
    assert message in caught.value.message
    assert caught.value.hint
