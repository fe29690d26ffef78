"""Programs of every signature give in Python what they give through their C interface."""

import json
import os
import threading

import numpy as np
import pytest

import edgekiln.runtime
from edgekiln.runtime import __main__ as front
from edgekiln.runtime.errors import InputError
from edgekiln.runtime.program import batch_of
from tests.runtime import c_program

DRAW = np.random.default_rng(0)

SIGNATURES = {
    "recurrent state": ([(1, 8, 12, 10)], [(2, 4, 120)]),
    "other first axes": ([(1, 5), (3, 2)], [(1, 5)]),
    "scalar in": ([(), (4,)], [(4,)]),
    "scalar out": ([(4, 3)], [()]),
    "scalars": ([()], [(), ()]),
    "vectors": ([(7,)], [(2,), (3, 3)]),
    "a batch of one": ([(1, 5)], [(1, 2)]),
    "a batch of three": ([(3, 5), (3, 2, 2)], [(3,), (3, 1)]),
    "no inputs": ([], [(2, 3)]),
}


def random(shapes):
    return [DRAW.integers(-50, 50, shape).astype(np.float32) for shape in shapes]


def results(answer):
    return answer if isinstance(answer, list) else [answer]


@pytest.mark.parametrize("name", SIGNATURES)
def test_outputs_come_back_whole(tmp_path, name):
    inputs, outputs = SIGNATURES[name]
    program = edgekiln.runtime.load(c_program.write(tmp_path / "p.lib", inputs, outputs))
    given = random(inputs)
    got = results(program(*given))
    assert len(got) == len(outputs)
    for mine, wanted in zip(got, c_program.expected(given, outputs), strict=True):
        assert mine.shape == wanted.shape
        np.testing.assert_array_equal(mine, wanted)


def test_random_signatures_give_what_c_gives(tmp_path):
    for _ in range(15):
        count = DRAW.integers(1, 4, 2)
        inputs, outputs = (
            [tuple(DRAW.integers(1, 4, DRAW.integers(0, 5)).tolist()) for _ in range(each)]
            for each in count
        )
        program = edgekiln.runtime.load(c_program.write(tmp_path / "p.lib", inputs, outputs))
        given = random(inputs)
        got = results(program(*given))
        assert len(got) == len(outputs)
        for mine, wanted in zip(got, c_program.expected(given, outputs), strict=True):
            np.testing.assert_array_equal(mine, wanted, err_msg=f"{inputs} {outputs}")


@pytest.mark.parametrize(
    ("inputs", "outputs", "batch"),
    [
        ([(3, 5), (3, 2, 2)], [(3,), (3, 1)], 3),
        ([(1, 5)], [(1, 2)], 1),
        ([(1, 5)], [(2, 2)], None),
        ([(1, 5), (2, 5)], [(1, 2)], None),
        ([()], [()], None),
        ([], [(1, 2)], None),
    ],
)
def test_the_first_axis_is_the_batch_where_all_tensors_share_it(tmp_path, inputs, outputs, batch):
    program = edgekiln.runtime.load(c_program.write(tmp_path / "p.lib", inputs, outputs))
    assert batch_of(program.runner) == batch


def test_a_batch_of_any_size_is_run_in_pieces(tmp_path):
    path = c_program.write(tmp_path / "p.lib", [(3, 2), (3,)], [(3, 2)])
    x, z = random([(7, 2), (7,)])
    got = edgekiln.runtime.load(path)(x, z)
    assert got.shape == (7, 2)
    first = c_program.expected([x[:3], z[:3]], [(3, 2)])[0]
    np.testing.assert_array_equal(got[:3], first)


def test_a_program_without_a_batch_takes_its_own_shape_alone(tmp_path):
    program = edgekiln.runtime.load(c_program.write(tmp_path / "p.lib", [(1, 5)], [(2, 2)]))
    one = np.arange(5, dtype=np.float32)
    np.testing.assert_array_equal(program(one), program(one[None]))
    with pytest.raises(InputError) as caught:
        program(np.zeros((4, 5), np.float32))
    assert caught.value.message == "load: input 'x0' is (1, 5), this array is (4, 5)"
    assert caught.value.hint == "give float32 (1, 5)"


def test_a_number_is_a_scalar_input(tmp_path):
    program = edgekiln.runtime.load(c_program.write(tmp_path / "p.lib", [()], [()]))
    assert program(2.5).shape == ()
    assert program(np.float32(2.5)) == 2.5
    with pytest.raises(InputError, match=r"input 'x0' is \(\), this array is \(1,\)"):
        program(np.zeros(1, np.float32))


def test_scalars_are_read_from_files_and_printed(tmp_path, capsys):
    path = c_program.write(tmp_path / "p.lib", [(), (2,)], [(), (2, 2)])
    np.save(tmp_path / "a.npy", np.float32(1.5))
    np.float32([1, 2]).tofile(tmp_path / "b.bin")
    files = ["--input", str(tmp_path / "a.npy"), "--input", str(tmp_path / "b.bin")]
    assert front.main(["run", str(path), *files]) == 0
    assert "y0: float32 one value\n  0: 2.5\n" in capsys.readouterr().out
    assert front.main(["run", str(path), *files, "--json"]) == 0
    outputs = json.loads(capsys.readouterr().out)["outputs"]
    assert [each["values"] for each in outputs] == [2.5, [[3.5, 4.5], [3.5, 4.5]]]


# Python 3.12 and later warn of exactly what is tested here.
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_forked_during_an_inference_can_infer(tmp_path):
    path = c_program.write(tmp_path / "slow.lib", [(1, 2)], [(1, 2)], body="usleep(3000);")
    program = edgekiln.runtime.load(path)
    x = np.ones((1, 2), np.float32)
    stop = threading.Event()

    def infer():
        while not stop.is_set():
            program(x)

    threads = [threading.Thread(target=infer) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        ended = [_in_child(lambda: bool((program(x) == 1).all())) for _ in range(10)]
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert ended == [0] * 10


def _in_child(action):
    """The exit code of a forked child: 0 for a true answer, a signal where it hangs."""
    child = os.fork()
    if child == 0:
        import signal

        signal.alarm(10)  # the child's end where it hangs
        os._exit(0 if action() else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
