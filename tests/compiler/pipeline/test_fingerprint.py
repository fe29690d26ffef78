"""A key follows the code: every module that a stage runs counts, and nothing else does."""

import ast
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module, metadata
from pathlib import Path

import pytest

from edgekiln.compiler.aot import codegen, functions
from edgekiln.compiler.build.chain import CHAIN
from edgekiln.compiler.build.stage_table import STAGES
from edgekiln.compiler.pipeline import fingerprint
from edgekiln.compiler.pipeline.fingerprint import ROOTS, Sources, installed
from edgekiln.compiler.pipeline.source_file import parse

MODULES = {
    **{name: reference.partition(":")[0] for name, reference in STAGES.items()},
    "initialize": "edgekiln.compiler.stages.initialize",
    "evaluate": CHAIN.evaluate.partition(":")[0],
    "check": "edgekiln.compiler.stages.check",
    "bench": "edgekiln.compiler.stages.bench",
}
# Read by other means than `files`, because their content is in the keys by itself.
IN_KEYS_ALREADY = {
    "edgekiln.targets/profiles": "as the target",
    "edgekiln.targets/tuning": "by the hash of the file that `compile` uses",
    "edgekiln.models/recipes": "as the stages' options",
}
# Read by commands alone, never by a stage.
OF_NO_STAGE = {
    "edgekiln.compiler.ci/templates",
    "edgekiln.compiler.documents/schemas",
    "edgekiln.compiler.estimate/c",
    "edgekiln.compiler.search/templates",
    "edgekiln.compiler.sweep/templates",
    "edgekiln.compiler.trace/templates",
    "edgekiln.runtime/schemas",
}
MODULES_WITH_FILE = {
    "edgekiln.models.zoo.entries",
    "edgekiln.targets.files",
    "edgekiln.targets.profile",
}


# Distributions that a closure imports, and whose versions are in no stage's tools.
NO_TOOLS = {
    "pillow": "reads data, whose content is in keys",
    "pyarrow": "reads data, whose content is in keys",
    "scikit-learn": "has data, whose content is in keys",
    "torchvision": "of a factory, whose code names it",
    "protobuf": "holds ONNX models, of whose format onnx's version tells",
    "scipy": "scores detections; what is trained on is torch's",
}
OF_OTHER_STAGES = {
    "torch": ("quantize", "package"),  # they read data of tasks, whose losses are torch's
    "onnx": ("distill", "prune"),  # they read data, which an ONNX model may name
}


@pytest.fixture
def copy(tmp_path: Path) -> Sources:
    """The project's packages, to be changed."""
    for name, folder in installed().roots.items():
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(folder, tmp_path / name.rpartition(".")[2], ignore=ignored)
    return Sources(roots={name: tmp_path / name.rpartition(".")[2] for name in ROOTS})


def test_where_the_packages_lie_changes_nothing(copy: Sources) -> None:
    elsewhere = {module: copy.fingerprint(module) for module in MODULES.values()}
    assert elsewhere == {module: installed().fingerprint(module) for module in MODULES.values()}


@pytest.mark.parametrize("stage", MODULES)
def test_a_change_in_any_module_of_its_closure_changes_a_stages_key(
    copy: Sources, stage: str
) -> None:
    before = copy.fingerprint(MODULES[stage])
    closure = copy.closure(MODULES[stage])
    assert len(closure) > 10
    for path in closure.values():
        content = path.read_bytes()
        path.write_bytes(content + b"\nchanged = 1\n")
        assert copy.fingerprint(MODULES[stage]) != before, path
        path.write_bytes(content)
    assert copy.fingerprint(MODULES[stage]) == before


def test_what_a_stage_does_not_import_changes_nothing(copy: Sources) -> None:
    before = {module: copy.fingerprint(module) for module in MODULES.values()}
    compiler = copy.roots["edgekiln.compiler"]
    for room in ("cli", "ci", "build", "estimate"):
        for path in (compiler / room).rglob("*.py"):
            path.write_text(path.read_text() + "\nchanged = 1\n")
    assert {module: copy.fingerprint(module) for module in MODULES.values()} == before


def test_comments_docstrings_and_formatting_change_nothing(copy: Sources) -> None:
    """Nor does writing all of a file anew from its syntax tree, docstrings left out."""
    before = {module: copy.fingerprint(module) for module in MODULES.values()}
    for path in copy.closure(*MODULES.values()).values():
        if path.suffix == ".py":
            path.write_text("# a comment\n" + ast.unparse(_bare(path.read_text())) + "\n")
    assert {module: copy.fingerprint(module) for module in MODULES.values()} == before


def _bare(source: str) -> ast.Module:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module) and ast.get_docstring(
            node
        ):
            node.body = node.body[1:] or ([] if isinstance(node, ast.Module) else [ast.Pass()])
    return tree


def test_a_training_does_not_depend_on_the_compiler() -> None:
    """The closures are as wide as they must be: rooms of another stage are not in them."""
    rooms = {
        stage: {name.split(".")[2] for name in installed().closure(module) if name.count(".") > 2}
        for stage, module in MODULES.items()
    }
    back_end = {"kernels", "lowering", "aot", "passes", "ir", "tuning"}
    for stage in MODULES.keys() - {"compile"}:
        assert not rooms[stage] & back_end, stage
    for stage in ("compile", "check", "bench"):
        assert not rooms[stage] & {"training", "pruning", "quantization"}, stage
    for stage in ("distill", "prune", "export"):
        assert not {"estimate", "devices", "environment", "ci", "cli"} & rooms[stage], stage


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_names_the_distributions_that_its_code_imports(name: str) -> None:
    module, _, stage = STAGES[name].partition(":")
    imported = installed().foreign(module) - sys.stdlib_module_names
    of = metadata.packages_distributions()
    distributions = {each for top in imported for each in of.get(top, ())} - NO_TOOLS.keys()
    distributions -= {each for each, stages in OF_OTHER_STAGES.items() if name in stages}
    assert distributions <= set(getattr(import_module(module), stage).tools)


def test_what_checks_and_times_a_bundle_knows_neither_the_matrix_nor_the_build() -> None:
    """What a configuration or a gate looks like changes nothing that a bundle does."""
    for stage in ("check", "bench"):
        names = {name for name in installed().closure(MODULES[stage]) if name.count(".") > 2}
        stages = {name for name in names if name.startswith("edgekiln.compiler.stages.")}
        assert stages <= {MODULES[stage], "edgekiln.compiler.stages.uses_data"}
        assert not {name.split(".")[2] for name in names} & {"ci", "build", "environment"}
    assert not any(
        name.startswith("edgekiln.models") for name in installed().closure(MODULES["bench"])
    )


def test_another_network_of_the_zoo_retrains_none() -> None:
    for stage in ("distill", "prune", "export"):
        assert "edgekiln.models.zoo.vit" not in installed().closure(MODULES[stage])


def test_the_c_sources_and_the_licences_count(copy: Sources) -> None:
    compiled = {name for name in copy.closure(MODULES["compile"]) if "/" in name}
    assert {"edgekiln.runtime/c/runner.c", "edgekiln.runtime/c/firmware/startup.c"} & compiled
    assert not any("schemas" in name for name in compiled)
    packed = {name for name in copy.closure(MODULES["package"]) if "/" in name}
    assert packed == {
        "edgekiln.compiler.packaging/notices/Apache-2.0.txt",
        "edgekiln.compiler.packaging/notices/LGPL-2.1.txt",
        "edgekiln.models.text/bert_unicode.txt",  # by which texts become an example
        "edgekiln.models.text/gpt2_unicode.txt",
    }


def test_every_data_file_is_in_a_key_or_of_no_stage() -> None:
    counted = {name for module in MODULES.values() for name in installed().closure(module)}
    unknown = {
        name
        for name in _data_files()
        if name not in counted
        and not name.startswith(
            (*(f"{n}/" for n in IN_KEYS_ALREADY), *(f"{n}/" for n in OF_NO_STAGE))
        )
    }
    assert unknown == set()


def _data_files() -> Iterator[str]:
    for root, folder in installed().roots.items():
        for path in folder.rglob("*"):
            if path.is_file() and path.suffix not in (".py", ".pyc", ".typed"):
                home = path.parent
                while not (home / "__init__.py").exists():
                    home = home.parent
                package = ".".join((root, *home.relative_to(folder).parts))
                yield f"{package}/{path.relative_to(home).as_posix()}"


def test_no_other_module_of_a_stage_looks_beside_itself() -> None:
    """Data is read by `files("package")`, which the fingerprint follows, or declared above."""
    looking = {
        name
        for name, path in installed().closure(*MODULES.values()).items()
        if path.suffix == ".py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Name) and node.id == "__file__"
    }
    assert looking - MODULES_WITH_FILE == set()


def test_cached_machine_code_follows_the_kernels_and_not_the_rules() -> None:
    closure = installed().closure(functions._MAKER, codegen.__name__)
    assert {"edgekiln.compiler.kernels.conv2d", "edgekiln.targets.isa.x86_vnni"} <= closure.keys()
    assert not any(name.startswith("edgekiln.compiler.passes.rules") for name in closure)


def test_imports_count_wherever_they_stand_but_for_those_of_type_checkers() -> None:
    parsed = parse(
        b"from typing import TYPE_CHECKING\n"
        b"import edgekiln.a.one\n"
        b"if TYPE_CHECKING:\n    import edgekiln.a.never\nelse:\n    import edgekiln.a.two\n"
        b"def f():\n    from edgekiln.a import three\n"
        b"TABLE = {'x': 'edgekiln.a.four:Name'}\n"
        b"text = 'see edgekiln.a.five'\n"
    )
    ours = {name for name in parsed.at_import + parsed.when_called if name.startswith("edgekiln")}
    assert ours == {f"edgekiln.a.{name}" for name in ("one", "two", "three", "four")}


@pytest.mark.parametrize(
    ("before", "after", "equal"),
    [
        ("x = (1)", "x=1  # one", True),
        ("def f():\n  'doc'\n  return 'a' 'b'", "def f(): return 'ab'", True),
        ("f(a, b)", "f(\n    a,\n    b,\n)", True),
        ("x = 1", "x = 1.0", False),
        ("x = '1'", "x = 1", False),
        ("x = 'doc'", "x = 'other'", False),
        ("f(a, b)", "f((a, b))", False),
        ("[a], [b]", "[a, b], []", False),
        ("if a:\n  b\nc", "if a:\n  b\n  c", False),
    ],
)
def test_only_code_counts(before: str, after: str, equal: bool) -> None:
    assert (parse(before.encode()).digest == parse(after.encode()).digest) is equal


def test_a_file_that_is_no_python_is_hashed_as_it_is() -> None:
    assert parse(b"def").digest != parse(b"def ").digest


def test_help_waits_for_no_fingerprint() -> None:
    program = (
        "import sys; sys.argv = ['edgekiln', 'build', '--help']\n"
        "from edgekiln.compiler.cli import main\n"
        "from edgekiln.compiler.pipeline import source_file\n"
        "try: main()\nexcept SystemExit: pass\n"
        "assert source_file.parse.cache_info().currsize == 0\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


def test_the_fingerprint_is_made_once_a_process() -> None:
    fingerprint.code_sha256(MODULES["quantize"])
    before = fingerprint.code_sha256.cache_info().hits
    fingerprint.code_sha256(MODULES["quantize"])
    assert fingerprint.code_sha256.cache_info().hits == before + 1
