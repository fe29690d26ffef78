"""What users write in `[tvm]` of a target, and TVM or LLVM do not take."""

import pytest

from edgekiln.compiler.lowering.tvm_target import target_of
from edgekiln.runtime.errors import ConfigError
from edgekiln.targets.description import TargetProfile
from edgekiln.targets.files import shipped

GOOD = {"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": "x86-64-v3"}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"mcpu": "x86-64-v33"}, "LLVM knows no processor mcpu = 'x86-64-v33'"),
        ({"mcpu": ""}, "LLVM knows no processor mcpu = ''"),
        ({"kind": "lvm"}, "lvm"),
        ({"kind": 3}, "kind"),
        ({"num-cores": "two"}, "num-cores"),
        ({"mattr": {}}, "mattr"),
        ({"mattr": ["+avx2", "+fastest"]}, "LLVM knows no feature mattr = '+fastest'"),
        ({"mattr": ["-fastest"]}, "LLVM knows no feature mattr = '-fastest'"),
        ({"mtriple": "armv7l-linux-gnueabihf", "mcpu": "cortex-a7"}, "names no ABI"),
        ({"mtriple": "thumbv7em-none-eabihf", "mcpu": "cortex-m4"}, "names no ABI"),
        ({"mattr": ["avx2"]}, "LLVM knows no feature mattr = 'avx2'"),
    ],
)
def test_what_tvm_does_not_take_is_an_error_in_words(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=r"^\[tvm\] of the target: ") as caught:
        target_of({**GOOD, **wrong})
    assert said in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("profile", shipped(), ids=lambda profile: profile.name)
def test_llvm_knows_all_that_our_own_profiles_say(profile: TargetProfile) -> None:
    assert target_of(profile.tvm).kind.name == profile.tvm["kind"]
