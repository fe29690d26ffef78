"""From a name to a module, and every way a name can be wrong."""

import importlib.util
import sys

import pytest
import torch

from edgekiln.models import zoo
from edgekiln.runtime.errors import ConfigError, InputError, MissingToolError


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A directory the tool was started in; what is imported from it does not stay."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    return tmp_path


def test_options_after_the_name_reach_the_factory():
    assert zoo.build("resnet8?classes=4&width=8").head.weight.shape == (4, 32)


def test_arguments_win_over_options_and_options_over_the_entry():
    assert dict(zoo.resolve("mobilenetv1?width=0.5&classes=3", classes=7).kwargs) == {
        "width": 0.5,
        "classes": 7,
    }
    assert zoo.resolve("mobilenetv1").kwargs["width"] == 0.25


def test_the_users_own_module_is_found_in_the_working_directory(workplace):
    (workplace / "mynets.py").write_text(
        "from torch import nn\n"
        "def linear(*, inputs=3): return nn.Linear(inputs, 2)\n"
        "class Nets:\n    small = staticmethod(linear)\n"
        "TABLE = {'a': linear}\n"
    )
    assert zoo.build("mynets:linear?inputs=5").in_features == 5
    assert zoo.build("mynets:Nets.small").in_features == 3
    assert zoo.build("mynets:TABLE.a").in_features == 3


def test_a_torch_class_is_a_factory():
    assert isinstance(zoo.build("torch.nn:Linear", in_features=2, out_features=1), torch.nn.Linear)


def _refused(model, kind):
    with pytest.raises(kind) as caught:
        zoo.build(model)
    return caught.value.message, caught.value.hint


def test_a_misspelt_zoo_name_gets_a_suggestion():
    assert _refused("resnet9", ConfigError) == (
        "no model named 'resnet9'",
        "did you mean resnet8?; your own is named package.module:factory",
    )


def test_a_misspelt_parameter_gets_a_suggestion():
    assert _refused("resnet8?clases=4", ConfigError) == (
        "resnet8: no parameter 'clases'",
        "did you mean classes?",
    )


def test_a_missing_module_says_where_it_was_looked_for(workplace):
    message, hint = _refused("nonesuch.nets:small", ConfigError)
    assert message == "no module named 'nonesuch.nets'"
    assert hint == f"it is looked for in {workplace} and in the installed packages"


def test_a_missing_attribute_gets_a_suggestion():
    message, hint = _refused("torch.nn:Linaer", ConfigError)
    assert message == "torch.nn:Linaer: no 'Linaer' in torch.nn"
    assert hint == "did you mean Linear?"


def test_something_that_cannot_be_called_is_refused():
    assert _refused("torch:pi", ConfigError) == (
        "torch:pi: is not a function or class",
        "name the factory itself",
    )


def test_functions_of_python_itself_are_refused():
    assert _refused("os:system?command=false", ConfigError) == (
        "os: is part of Python, which has no models",
        "name your own module",
    )


def test_a_module_that_does_not_import_is_the_users_error(workplace):
    (workplace / "broken_nets.py").write_text("1 / 0\n")
    message, hint = _refused("broken_nets:small", InputError)
    assert message == ("broken_nets: importing it raised ZeroDivisionError: division by zero")
    assert hint == "try: python -c 'import broken_nets'"


@pytest.mark.parametrize("code", ["0", "'install the texts first'"])
def test_a_module_that_ends_python_is_the_users_error(workplace, code):
    (workplace / "ending_nets.py").write_text(f"import sys\nsys.exit({code})\n")
    message, hint = _refused("ending_nets:small", InputError)
    assert message == (
        "ending_nets: importing it raised RuntimeError: it ends Python by SystemExit: "
        + code.strip("'")
    )
    assert hint == "try: python -c 'import ending_nets'"


def test_a_factory_that_ends_python_is_the_users_error(workplace):
    (workplace / "leaving_nets.py").write_text("def small():\n    raise SystemExit('no weights')\n")
    message, _ = _refused("leaving_nets:small", InputError)
    assert message.endswith("it ends Python by SystemExit: no weights")


def test_what_a_users_module_misses_is_named(workplace):
    (workplace / "needy_nets.py").write_text("import nonesuch\n")
    message, hint = _refused("needy_nets:small", InputError)
    assert message == (
        "needy_nets: importing it raised ModuleNotFoundError: No module named 'nonesuch'"
    )
    assert hint == "install nonesuch beside edgekiln"


def test_a_factory_that_raises_is_the_users_error():
    message, _ = _refused("vit?patch=5", InputError)
    assert message == (
        "vit: the factory raised ValueError: "
        "image_size 32 must be a multiple of patch 5, and dim 64 of num_heads 4"
    )


def test_a_factory_must_return_a_module():
    assert _refused("torch:Generator", InputError) == (
        "torch:Generator: the factory returned Generator",
        "it must return a torch.nn.Module",
    )


@pytest.mark.skipif(importlib.util.find_spec("timm") is not None, reason="timm is installed")
def test_timm_is_asked_for_by_the_command_that_installs_it():
    assert _refused("timm:create_model?model_name=resnet18", MissingToolError) == (
        "timm: timm is not installed",
        "pip install 'edgekiln[vision]'",
    )


@pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="needs the extra 'vision'")
def test_a_timm_model_builds():
    module = zoo.build("timm:create_model?model_name=mobilenetv3_small_050&num_classes=10").eval()
    assert module(torch.zeros(1, 3, 64, 64)).shape == (1, 10)


@pytest.mark.skipif(
    importlib.util.find_spec("torchvision") is None, reason="needs the extra 'vision'"
)
def test_a_torchvision_model_builds():
    module = zoo.build("torchvision.models:resnet18?num_classes=10").eval()
    assert module(torch.zeros(1, 3, 64, 64)).shape == (1, 10)
