"""The shape of the sources: what no other tool holds them to."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests import certain_checks, source_tree
from tests.source_tree import ROOMS, ROOT

LONGEST_FILE = 300  # lines

# How often `Any` may stand in each room, imports of it apart: where somebody else's values have no
# types, and nowhere else.
MOST_ANY = {
    "benchmarks": 2,
    "compiler/build": 3,
    "compiler/ci": 4,
    "compiler/cli": 4,
    "compiler/estimate": 2,
    "compiler/evaluation": 2,
    "compiler/ir": 4,
    "compiler/lowering": 1,
    "compiler/onnx_model": 15,
    "compiler/pipeline": 2,
    "compiler/pruning": 10,
    "compiler/quantization": 5,
    "compiler/sweep": 1,
    "compiler/training": 3,
    "models": 6,
    "runtime": 16,
    "targets": 2,
}


def test_nothing_but_rooms_lies_in_the_compilers_root() -> None:
    found = [path.name for path in source_tree.files() if path.parent == ROOT / "compiler"]
    assert found == ["__init__.py"]


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Imports inside functions and under TYPE_CHECKING are imports: they say who knows whom."""
    found = source_tree.circles(source_tree.imports())
    assert [sorted(circle) for circle in found] == []


def test_a_circle_is_found_wherever_the_import_stands() -> None:
    graph = {
        "a": frozenset({"b"}),
        "b": frozenset({"c"}),
        "c": frozenset({"a", "d"}),
        "d": frozenset({"e"}),
        "e": frozenset[str](),
    }
    assert source_tree.circles(graph) == [frozenset({"a", "b", "c"})]
    # Modules that are known to import inside a function and under TYPE_CHECKING.
    known = source_tree.imports()
    assert "edgekiln.compiler.aot.build" in known["edgekiln.compiler.stages.compile"]
    assert "edgekiln.targets.isa.base" in known["edgekiln.compiler.tuning.table"]


def test_no_file_is_longer_than_a_person_reads_at_once() -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for path in source_tree.files()
    }
    long = {name for name, lines in lengths.items() if lines > LONGEST_FILE}
    assert long == set()


def test_every_class_has_a_name_of_its_own() -> None:
    counts = Counter(
        node.name
        for path in source_tree.shipped()
        for node in ast.walk(source_tree.tree(path))
        if isinstance(node, ast.ClassDef)
    )
    assert {name for name, count in counts.items() if count > 1} == set()


def room_of(path: Path) -> str:
    """The room of a shipped file, as `MOST_ANY` names it."""
    first, second, *_ = path.relative_to(ROOT).parts
    return f"{first}/{second}" if first == "compiler" and not second.endswith(".py") else first


def any_in(path: Path) -> Iterator[int]:
    """The lines of a file in which `Any` stands, once for each; also in quoted annotations."""
    for node in ast.walk(source_tree.tree(path)):
        match node:
            case ast.Name(id="Any") | ast.Attribute(attr="Any"):
                yield node.lineno
            case ast.Constant(value=str(text)) if re.search(r"[\[| (]Any\b|^Any\b", text):
                if "\n" not in text and not text.endswith("."):  # an annotation, no sentence
                    yield node.lineno


def test_any_stands_nowhere_that_it_did_not() -> None:
    counts = Counter(room_of(path) for path in source_tree.shipped() for _ in any_in(path))
    over = {room: n for room, n in counts.items() if n > MOST_ANY.get(room, 0)}
    assert over == {}


def test_each_any_has_its_reason_beside_it_or_above() -> None:
    bare = []
    for path in source_tree.shipped():
        lines = ["", *path.read_text(encoding="utf-8").splitlines()]
        bare += [
            f"{path.relative_to(ROOT)}, line {number}"
            for number in any_in(path)
            if "#" not in lines[number] and not lines[number - 1].lstrip().startswith("#")
        ]
    assert bare == []


def names_in(path: Path) -> Iterator[str]:
    """What a file calls or mentions, by its last name."""
    for node in ast.walk(source_tree.tree(path)):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.alias(name=name):
                yield name


def test_type_hints_are_read_and_dataclasses_encoded_in_one_place_each() -> None:
    places: dict[str, set[str]] = {"get_type_hints": set(), "get_origin": set(), "asdict": set()}
    for path in source_tree.shipped():
        for name in set(names_in(path)) & places.keys():
            places[name].add(str(path.relative_to(ROOT)))
    hints = {"runtime/hints.py"}
    assert places == {"get_type_hints": hints, "get_origin": hints, "asdict": set()}


Documented = ast.FunctionDef | ast.ClassDef


def public_names(body: list[ast.stmt], of: str = "") -> Iterator[tuple[str, Documented]]:
    """The public classes and functions of a module, and of its public classes."""
    for node in body:
        if isinstance(node, Documented) and not node.name.startswith("_"):
            yield f"{of}{node.name}", node
            if isinstance(node, ast.ClassDef):
                yield from public_names(node.body, f"{node.name}.")


def test_every_public_name_says_what_it_is() -> None:
    """But for methods that do what another class's of that name says, and for overloads."""
    names = [
        (path, name, node)
        for path in source_tree.shipped()
        if path.relative_to(ROOT).parts[0] != "benchmarks"
        for name, node in public_names(source_tree.tree(path).body)
    ]
    explained = {name.rpartition(".")[2] for _, name, node in names if ast.get_docstring(node)}
    # Of torch's modules and click's commands and types.
    explained |= {"forward", "convert", "list_commands", "get_command"}
    silent = [
        f"{path.relative_to(ROOT)}: {name}"
        for path, name, node in names
        if not ast.get_docstring(node)
        and not any("overload" in ast.unparse(each) for each in node.decorator_list)
        and not ("." in name and name.rpartition(".")[2] in explained)
    ]
    assert silent == []


def test_docstrings_are_sentences() -> None:
    """Not what makes sense behind the name alone, such as "Of weights."."""
    openings = set("As At By For From In Of Over To With Without".split())
    found = []
    for path in source_tree.shipped():
        for node in ast.walk(source_tree.tree(path)):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                words = (ast.get_docstring(node) or "A sentence.").split("\n\n")[0].split()
                if words[0] in openings or len(words) < 2 or words[-1][-1] not in '.:?"':
                    found.append(f"{path.relative_to(ROOT)}: {' '.join(words)}")
    assert found == []


def test_every_package_says_that_it_is_typed() -> None:
    """Without py.typed a type checker takes what a user imports for `Any`."""
    packages = {ROOT / room for room in ROOMS}
    packages |= {path.parent for path in source_tree.shipped() if path.name == "__init__.py"}
    missing = [str(p.relative_to(ROOT)) for p in packages if not (p / "py.typed").is_file()]
    assert sorted(missing) == []


def every_test() -> Iterator[tuple[Path, ast.FunctionDef]]:
    for path in source_tree.files():
        if path.relative_to(ROOT).parts[0] == "tests":
            yield from ((path, test) for test in certain_checks.tests_of(path))


def test_every_test_checks_something_for_certain() -> None:
    found = {
        f"{path.relative_to(ROOT)}: {test.name}"
        for path, test in every_test()
        if not certain_checks.is_certain(test, path)
    }
    assert found == set()


def test_nothing_is_compared_with_itself() -> None:
    found = [
        f"{path.relative_to(ROOT)}, line {node.lineno}: {ast.unparse(node)}"
        for path in source_tree.files()
        for node in certain_checks.compared_with_themselves(path)
    ]
    assert found == []


def test_no_test_takes_just_any_error_for_the_right_one() -> None:
    found = [
        f"{path.relative_to(ROOT)}, line {node.lineno}: {ast.unparse(node)}"
        for path in source_tree.files()
        for node in certain_checks.taking_any_error(path)
    ]
    assert found == []


def certain(tmp_path: Path, body: str) -> bool:
    path = tmp_path / "test_x.py"
    path.write_text(f"def helper(x):\n    assert x\n\ndef test_x(found):\n    {body}\n")
    source_tree.tree.cache_clear()
    certain_checks.helpers.cache_clear()
    return certain_checks.is_certain(next(certain_checks.tests_of(path)), path)


def test_a_check_that_may_not_run_is_no_check(tmp_path: Path) -> None:
    assert certain(tmp_path, "assert found")
    assert certain(tmp_path, "helper(found)")
    assert certain(tmp_path, "for x in (1, 2): assert x")
    assert certain(tmp_path, "with pytest.raises(ValueError): found()")
    assert certain(tmp_path, "assert all((1, found))")
    assert certain(tmp_path, "assert any(found)")
    assert not certain(tmp_path, "assert all(found)")
    assert not certain(tmp_path, "assert all(x for x in found)")
    assert not certain(tmp_path, "assert not any(x for x in found)")
    assert not certain(tmp_path, "assert found or True")
    assert not certain(tmp_path, "found()")
    assert not certain(tmp_path, "for x in found: assert x")
    assert not certain(tmp_path, "if found: assert found")
