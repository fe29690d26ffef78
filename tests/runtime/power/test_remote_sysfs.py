"""Energy of a board behind a real sshd, by sensors that lie in a tree of the test's own."""

import getpass
import threading
import time

import pytest

from edgekiln.runtime import bench
from edgekiln.runtime.device.shell_device import ShellDevice
from edgekiln.runtime.device.ssh import SshShell
from edgekiln.runtime.errors import ConfigError
from edgekiln.runtime.power.meter import SensorError
from edgekiln.runtime.power.metering import Metering
from edgekiln.runtime.power.remote_sysfs import RemoteSysfsPoller
from tests.runtime.device import sshd as server

pytestmark = pytest.mark.skipif(server.SSHD is None, reason="openssh-server is not installed")

WATTS = 7.5
CHIP = "sys/class/hwmon/hwmon3"
PMIC = "echo 'VDD_CORE_A current(7)=2.5A'; echo 'VDD_CORE_V volt(15)=2.0V'"


@pytest.fixture
def board(sshd, tmp_path, root):
    (root / "proc").symlink_to("/proc")
    user = f"{getpass.getuser()}@127.0.0.1"
    home = str(tmp_path / "board")
    shell = SshShell(user, sshd.port, directory=home, config=str(sshd.config))
    return ShellDevice(shell, root=str(root))


@pytest.fixture
def ina226(sysfs):
    return sysfs(CHIP, name="ina226", power1_input=int(WATTS * 1e6), update_interval=50)


@pytest.fixture
def measurable(toy_bundle, toy_runner):
    return toy_bundle(extra={"runner": toy_runner})


@pytest.mark.usefixtures("ina226")
def test_a_boards_own_sensor_gives_the_energy_of_its_trials(board, measurable):
    result = bench.bench(measurable, trials=1, min_seconds=1.0, power="auto", device=board)
    energy = result.energy
    assert energy is not None, result.energy_unavailable
    assert (energy.meter, energy.scope) == ("hwmon", "ina226/power1")
    assert energy.mean_w == pytest.approx(WATTS, rel=0.01)
    assert energy.idle_before_w == pytest.approx(WATTS, rel=0.01)


def test_what_a_sensor_shows_later_arrives(board, ina226):
    before = threading.active_count()
    with board, RemoteSysfsPoller(board) as poller:
        poller.follow([f"{CHIP}/power1_input"], 0.05)
        copy = poller.root / CHIP / "power1_input"
        assert int(copy.read_text()) == WATTS * 1e6
        (ina226 / "power1_input").write_text("1000000\n")
        deadline = time.monotonic() + 10
        while copy.read_text() != "1000000":
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert not poller.root.exists()
    assert threading.active_count() == before


def test_the_power_chip_of_a_pi_5_is_read_through_its_program(board, root):
    program = root / "usr/bin/vcgencmd"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\n[ $1 = pmic_read_adc ] && {{ {PMIC}; }}\n")
    program.chmod(0o755)
    with board, Metering("rpi5-pmic", 5.0, board) as metering:
        metering.baseline()
        assert metering.unavailable == ""
        assert metering._idle_w == [pytest.approx(5.0, rel=0.01)]


@pytest.mark.usefixtures("ina226")
def test_a_lost_connection_is_a_failed_sensor_not_a_constant_one(board, sshd):
    with board, Metering("hwmon", 1.0, board) as metering:
        metering.baseline()
        sshd.cut()
        time.sleep(1.0)
        with pytest.raises(SensorError) as caught:
            metering.baseline()
    assert caught.value.message.startswith(f"{board.name}:/{CHIP}/power1_input: ")


def test_a_board_without_a_sensor_says_so(board, measurable):
    result = bench.bench(measurable, trials=1, min_seconds=0.02, power="auto", device=board)
    assert result.energy is None
    assert result.energy_unavailable.startswith("ina3221: no INA3221 on an I2C bus; rpi5-pmic: ")


def test_the_gpu_of_another_machine_is_not_this_ones(board, measurable):
    with pytest.raises(ConfigError, match="cannot be read from here"):
        bench.bench(measurable, trials=1, min_seconds=0.02, power="nvml", device=board)
