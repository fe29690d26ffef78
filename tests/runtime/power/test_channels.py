"""Sensors with several channels, hwmon and IIO, over a tree of files as the driver shows it."""

import pytest

from edgekiln.runtime.power import hwmon, iio
from edgekiln.runtime.power.meter import SensorError
from tests.runtime.power.constant import assert_watts

# hwmon


@pytest.mark.parametrize("chip", ["ina219", "ina226"])
def test_a_supply_sensor_is_found(root, sysfs, chip):
    sysfs("sys/class/hwmon/hwmon0", name="nvme", power1_input=1)
    sysfs("sys/class/hwmon/hwmon1", name=chip, power1_input=3_500_000, update_interval=140)
    meter = hwmon.open_meter(root)
    assert (meter.name, meter.scope) == ("hwmon", f"{chip}/power1")
    assert meter.update_period_s == 0.14
    assert_watts(meter, 3.5)


def test_an_energy_counter_is_preferred_to_integrating(root, sysfs):
    chip = sysfs("sys/class/hwmon/hwmon0", name="ina238", energy1_input=2_000_000, power1_input=1)
    sysfs("sys/class/hwmon/hwmon0", energy1_label="VSYS")
    meter = hwmon.open_meter(root)
    assert meter.scope == "ina238/energy1 VSYS"
    assert meter.energy_j() == 2.0
    (chip / "energy1_input").write_text("5500000")
    assert meter.energy_j() == 5.5


def test_acpis_power_meter_has_an_average(root, sysfs):
    sysfs("sys/class/hwmon/hwmon0", name="power_meter", power1_average=90_000_000)
    assert_watts(hwmon.open_meter(root), 90.0)


def test_a_part_of_the_machine_must_be_asked_for(root, sysfs):
    sysfs("sys/class/hwmon/hwmon0", name="amdgpu", power1_average=20_000_000)
    with pytest.raises(SensorError, match="no sensor of a whole machine's supply") as caught:
        hwmon.open_meter(root)
    assert caught.value.hint == "there are: amdgpu/power1"
    assert hwmon.open_meter(root, "amdgpu").scope == "amdgpu/power1"


def test_which_of_several_is_not_guessed(root, sysfs):
    sysfs("sys/class/hwmon/hwmon0", name="ina226", power1_input=1)
    sysfs("sys/class/hwmon/hwmon1", name="ina219", power1_input=1)
    with pytest.raises(SensorError) as caught:
        hwmon.open_meter(root)
    assert caught.value.message.endswith(
        "several sensors in /sys/class/hwmon: ina226/power1, ina219/power1"
    )
    assert caught.value.hint == "choose one: --power hwmon:ina226/power1"
    assert hwmon.open_meter(root, "ina219/power1").scope == "ina219/power1"


# IIO

MONITOR = "sys/bus/iio/devices/iio:device0"


def test_a_power_monitor_of_iio_is_scaled(root, sysfs):
    sysfs(MONITOR, name="ina2xx", in_power2_raw=120, in_power2_scale=25)
    meter = iio.open_meter(root)
    assert (meter.name, meter.scope) == ("iio", "ina2xx/power2")
    assert_watts(meter, 3.0)


def test_an_energy_counter_of_iio_is_read_as_it_is(root, sysfs):
    chip = sysfs(MONITOR, name="pac1934", in_power1_raw=1, in_energy1_raw=1_000)
    sysfs(MONITOR, in_energy_scale=0.25, in_energy1_label="VDD_SOC")
    meter = iio.open_meter(root)
    assert meter.scope == "pac1934/energy1 VDD_SOC"
    assert meter.energy_j() == 250.0
    (chip / "in_energy1_raw").write_text("1004")
    assert meter.energy_j() == 251.0


def test_which_rail_of_iio_is_not_guessed(root, sysfs):
    sysfs(MONITOR, name="pac1934", in_power1_raw=8, in_power2_raw=16)
    with pytest.raises(SensorError) as caught:
        iio.open_meter(root)
    assert caught.value.hint == "choose one: --power iio:pac1934/power1"
    assert_watts(iio.open_meter(root, "pac1934/power2"), 0.016)
    with pytest.raises(SensorError, match=r"no max34407 in /sys/bus/iio/devices"):
        iio.open_meter(root, "max34407")


def test_a_scale_of_nothing_is_refused(root, sysfs):
    sysfs(MONITOR, name="pac1934", in_power1_raw=8, in_power1_scale=0)
    with pytest.raises(SensorError, match="the scale of power1 is 0"):
        iio.open_meter(root)


def test_machines_without_iio_say_so(root):
    with pytest.raises(SensorError, match=r"no power monitor in /sys/bus/iio/devices") as caught:
        iio.open_meter(root)
    assert caught.value.hint == "there are: none"
