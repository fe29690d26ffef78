"""Each sensor over a tree of files as its driver shows it."""

import re
import stat
import subprocess
from pathlib import Path

import pytest

from edgekiln.runtime.power import (
    ina3221,
    nvml,
    power_supply,
    rapl,
    rpi5_pmic,
)
from edgekiln.runtime.power.integrator import Integrator
from edgekiln.runtime.power.meter import SensorError
from tests.runtime.power.constant import assert_watts
from tests.runtime.power.user import nobody

FIXTURES = Path(__file__).parent / "fixtures"


# RAPL


def test_rapl_sums_the_packages(root, package):
    first, second = package(0, 100_000), package(1, 500_000)
    meter = rapl.open_meter(root)
    assert meter.scope == "CPU package-0 + package-1"
    before_j = meter.energy_j()
    (first / "energy_uj").write_text("150000")
    (second / "energy_uj").write_text("700000")
    assert meter.energy_j() - before_j == pytest.approx(0.25)


def test_rapl_counts_across_a_wrap(root, package):
    zone = package(0, 900_000)
    meter = rapl.open_meter(root)
    (zone / "energy_uj").write_text("100000")
    assert meter.energy_j() == pytest.approx(0.2)
    (zone / "energy_uj").write_text("50000")
    assert meter.energy_j() == pytest.approx(1.15)


def test_rapl_counts_no_joule_twice(root, package, sysfs):
    package(0, 1)
    package(1, 1, name="psys")
    zone = {"energy_uj": 1, "max_energy_range_uj": 9}
    sysfs("sys/class/powercap/intel-rapl:0:0", name="core", **zone)
    sysfs("sys/class/powercap/intel-rapl-mmio:0", name="package-0", **zone)
    assert rapl.open_meter(root).scope == "CPU package-0"


def test_rapl_that_may_not_be_read_says_how_to_permit_it(root, package):
    (package(0, 1) / "energy_uj").chmod(0o400)
    denied = r"intel-rapl:0/energy_uj: permission denied"
    with nobody(), pytest.raises(SensorError, match=denied) as caught:
        rapl.open_meter(root)
    assert "sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj" in caught.value.hint
    assert 'SUBSYSTEM=="powercap"' in caught.value.hint
    assert caught.value.exit_code == 12


def test_rapl_that_vanishes_is_named(root, package):
    zone = package(0, 1)
    meter = rapl.open_meter(root)
    (zone / "energy_uj").unlink()
    with pytest.raises(SensorError, match=r"energy_uj: No such file"):
        meter.energy_j()


# INA3221

JETSON = "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3"


def test_jetsons_top_rail_counts_once(root, sysfs):
    sysfs(JETSON, in1_label="VDD_IN", in1_input=5000, curr1_input=1200)
    sysfs(JETSON, in2_label="VDD_CPU_GPU_CV", in2_input=5000, curr2_input=700)
    meter = ina3221.open_meter(root)
    assert meter.scope == "module input VDD_IN"
    assert_watts(meter, 6.0)


def test_an_older_jetson_shows_its_rails_over_iio(root, sysfs):
    sysfs(
        "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0",
        rail_name_0="POM_5V_IN", in_voltage0_input=5000, in_current0_input=400,
        rail_name_1="POM_5V_GPU", in_voltage1_input=5000, in_current1_input=100,
    )  # fmt: skip
    assert_watts(ina3221.open_meter(root), 2.0)


def test_rails_without_a_top_are_not_summed(root, sysfs):
    sysfs(JETSON, in1_label="VDD_GPU_SOC", in1_input=1, curr1_input=1)
    sysfs(JETSON, in2_label="VDD_CPU_CV", in2_input=1, curr2_input=1)
    with pytest.raises(SensorError) as caught:
        ina3221.open_meter(root)
    assert caught.value.message == (
        "INA3221 has no rail for the whole module, only VDD_CPU_CV, VDD_GPU_SOC"
    )
    assert "FILE.csv" in caught.value.hint


# Raspberry Pi 5

ADC = """\
3V7_WL_SW_A current(0)=0.10000000A
   VDD_CORE_A current(7)=2.00000000A
    3V7_WL_SW_V volt(8)=3.70000000V
     VDD_CORE_V volt(15)=0.80000000V
        EXT5V_V volt(24)=5.15000000V
         BATT_V volt(25)=0.00400000V
"""


@pytest.fixture
def vcgencmd(root):
    def write(script):
        program = root / "usr/bin/vcgencmd"
        program.parent.mkdir(parents=True)
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(stat.S_IRWXU)
        return program

    return write


def test_the_pi_5_sums_its_rails(root, vcgencmd):
    vcgencmd(f"[ $1 = pmic_read_adc ] && cat <<'END'\n{ADC}END")
    assert rpi5_pmic.watts(root) == pytest.approx(0.1 * 3.7 + 2.0 * 0.8)
    assert rpi5_pmic.open_meter(root).scope == "rails of the board"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'error=1 error_msg=\"Command not registered\"'", "Command not registered"),
        ('echo "Can\'t open device file: /dev/vcio" >&2; exit 255', "Can't open device file"),
        ("true", "said 'nothing'"),
    ],
)
def test_a_pi_without_the_chip_or_the_permission_says_so(root, vcgencmd, script, said):
    vcgencmd(script)
    with pytest.raises(SensorError, match=re.escape(said)) as caught:
        rpi5_pmic.open_meter(root)
    assert "usermod -aG video" in caught.value.hint


# Battery

BATTERY = "sys/class/power_supply/BAT0"


def test_a_battery_gives_power(root, sysfs):
    sysfs("sys/class/power_supply/AC", type="Mains", online=0)
    sysfs(BATTERY, type="Battery", status="Discharging", power_now=7_250_000)
    meter = power_supply.open_meter(root)
    assert meter.scope == "machine, from BAT0"
    assert_watts(meter, 7.25)


def test_a_battery_gives_current_and_voltage(sysfs):
    home = sysfs(
        BATTERY, type="Battery", status="Discharging", current_now=-500_000, voltage_now=4_000_000
    )
    assert power_supply.watts(home) == pytest.approx(2.0)


def test_a_battery_on_its_charger_is_no_meter(root, sysfs):
    sysfs(BATTERY, type="Battery", status="Charging", power_now=1)
    with pytest.raises(SensorError, match="BAT0 is charging, not discharging") as caught:
        power_supply.open_meter(root)
    assert "unplug" in caught.value.hint


def test_a_mouses_battery_is_not_the_machines(root, sysfs):
    sysfs(BATTERY, type="Battery", scope="Device", status="Discharging", power_now=1)
    with pytest.raises(SensorError, match="no battery"):
        power_supply.open_meter(root)


# NVML: a library with the real one's interface


@pytest.fixture
def library(tmp_path):
    def build(**macros):
        path = tmp_path / "libnvidia-ml.so"
        defines = [f"-D{name}={value}" for name, value in macros.items()]
        source = FIXTURES / "nvml.c"
        subprocess.run(["gcc", "-shared", "-fPIC", *defines, "-o", path, source], check=True)
        return str(path)

    return build


def test_a_gpu_that_counts_is_asked_for_its_count(root, library):
    meter = nvml.open_meter(root, "1", library())
    assert meter.scope == "GPU 1, Fake GPU"
    before_j = meter.energy_j()
    assert meter.energy_j() - before_j == pytest.approx(1.5)  # 1500 mJ a call


def test_an_older_gpu_is_integrated(root, library):
    meter = nvml.open_meter(root, "", library(OLD=1))
    assert isinstance(meter, Integrator)
    assert_watts(meter, 70.0)


def test_nvmls_own_words_are_given(root, library):
    with pytest.raises(SensorError, match="nvmlDeviceGetHandleByIndex_v2: Invalid Argument"):
        nvml.open_meter(root, "7", library())
    with pytest.raises(SensorError, match=r"no libnvidia-ml\.so\.1"):
        nvml.open_meter(root, "", "libnothing-of-this-name.so")
