import pytest

from edgekiln.runtime import host

CPUINFO_X86 = """\
processor\t: 0
model name\t: Some CPU @ 2 GHz
cpu MHz\t\t: 1999.5
flags\t\t: fpu avx2 avx512_vnni

processor\t: 1
model name\t: Some CPU @ 2 GHz
cpu MHz\t\t: 800.0
flags\t\t: fpu avx2 avx512_vnni
"""
CPUINFO_ARM = """\
processor\t: 0
Features\t: fp asimd asimddp
CPU part\t: 0xd0b

Model\t\t: Raspberry Pi 5
"""
CPUINFO_RISCV = """\
processor\t: 0
hart\t\t: 0
isa\t\t: rv64imafdcv_zicbom_zba
mmu\t\t: sv39
"""


def tree(root, **files):
    for name, content in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


@pytest.mark.parametrize(
    ("cpuinfo", "flags"),
    [
        (CPUINFO_X86, {"fpu", "avx2", "avx512_vnni"}),
        (CPUINFO_ARM, {"fp", "asimd", "asimddp"}),
        (CPUINFO_RISCV, {"i", "m", "a", "f", "d", "c", "v", "zba", "zicbom"}),
        ("", set()),
    ],
)
def test_features_are_read_on_every_architecture(tmp_path, cpuinfo, flags):
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    assert host.cpu_flags(tmp_path / "cpuinfo") == flags


def test_a_machine_without_proc_has_no_features(tmp_path):
    assert host.cpu_flags(tmp_path / "absent") == frozenset()


def test_a_machine_with_nothing_to_read_is_still_described(tmp_path):
    machine = host.machine(tmp_path)
    assert machine.cpu == "unknown"
    assert machine.cores >= 1
    assert (machine.governor, machine.max_frequency_hz, machine.memory_bytes) == (None, None, None)
    state = host.state(tmp_path)
    assert set(vars(state).values()) == {None}
    assert host.peak_resident_bytes(tmp_path) == 0


def test_a_machine_says_what_it_is(tmp_path):
    cpufreq = "sys/devices/system/cpu/cpu0/cpufreq"
    tree(
        tmp_path,
        proc__cpuinfo=CPUINFO_X86,
        proc__meminfo="MemTotal:    1024 kB\n",
        proc__loadavg="0.25 0.10 0.05 1/100 7\n",
        proc__uptime="77.5 1.0\n",
        proc__stat="cpu  1 0 2 3 4 0 0 500 0 0\n",
        **{
            f"{cpufreq}/scaling_governor": "powersave\n",
            f"{cpufreq}/cpuinfo_max_freq": "2000000\n",
            "sys/class/thermal/thermal_zone0/temp": "41000\n",
            "sys/class/thermal/thermal_zone1/temp": "55500\n",
        },
    )
    machine, state = host.machine(tmp_path), host.state(tmp_path)
    assert machine.cpu == "Some CPU @ 2 GHz"
    assert (machine.governor, machine.max_frequency_hz) == ("powersave", 2e9)
    assert machine.memory_bytes == 1024 * 1024
    assert (state.load, state.uptime_s) == (0.25, 77.5)
    assert state.frequency_hz == 1999.5e6
    assert state.temperature_c == 55.5
    assert state.stolen_s == 5.0


def test_a_board_is_known_by_its_device_tree(tmp_path):
    tree(tmp_path, proc__cpuinfo=CPUINFO_ARM)
    board = tmp_path / "proc/device-tree/model"
    board.parent.mkdir()
    board.write_bytes(b"Raspberry Pi 5 Model B Rev 1.0\0")
    assert host.machine(tmp_path).cpu == "Raspberry Pi 5 Model B Rev 1.0"


def test_the_kernel_s_frequency_wins_over_cpuinfo(tmp_path):
    cur = "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq"
    tree(tmp_path, proc__cpuinfo=CPUINFO_X86, **{cur: "1500000"})
    assert host.state(tmp_path).frequency_hz == 1.5e9


def test_thermal_throttling_is_counted(tmp_path):
    counts = "sys/devices/system/cpu/cpu{}/thermal_throttle/core_throttle_count"
    tree(tmp_path, **{counts.format(0): "3", counts.format(1): "4"})
    before = host.state(tmp_path)
    assert before.throttle_events == 7
    assert host.throttled(before, before) is False
    tree(tmp_path, **{counts.format(1): "5"})
    assert host.throttled(before, host.state(tmp_path)) is True


def test_a_container_s_quota_is_throttling(tmp_path):
    stat = "sys/fs/cgroup/cpu.stat"
    tree(tmp_path, **{stat: "usage_usec 5\nnr_throttled 1\n"})
    before = host.state(tmp_path)
    tree(tmp_path, **{stat: "usage_usec 9\nnr_throttled 2\n"})
    assert host.throttled(before, host.state(tmp_path)) is True


@pytest.mark.parametrize(("bits", "now"), [("0", False), ("50000", False), ("50005", True)])
def test_a_board_says_whether_it_is_throttled_now(tmp_path, bits, now):
    tree(tmp_path, **{host.PI_THROTTLED: bits})
    state = host.state(tmp_path)
    assert state.throttled_now is now
    assert host.throttled(state, state) is now


def test_unreadable_numbers_are_unknown(tmp_path):
    tree(tmp_path, **{"sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq": "<unknown>"})
    assert host.machine(tmp_path).max_frequency_hz is None


def test_this_machine_can_be_read():
    assert host.machine().cores >= 1
    assert host.affinity()
    assert host.peak_resident_bytes() > 1_000_000


def test_a_zone_at_its_passive_trip_point_is_too_hot(tmp_path):
    zone = "sys__class__thermal__thermal_zone0__"
    limits = {f"{zone}trip_point_0_type": "passive", f"{zone}trip_point_0_temp": "85000"}
    cool = host.state(tree(tmp_path, **limits, **{f"{zone}temp": "84000"}))
    hot = host.state(tree(tmp_path, **{f"{zone}temp": "85000"}))
    assert (cool.overheated, hot.overheated) == (False, True)
    assert host.overheated(cool, hot) is True
    assert host.overheated(cool, cool) is False


def test_a_device_that_cools_by_slowing_is_throttling(tmp_path):
    device = "sys__class__thermal__cooling_device0__"
    files = {f"{device}type": "cpufreq-cpu0", f"{device}cur_state": "0"}
    assert host.state(tree(tmp_path, **files)).throttled_now is False
    assert host.state(tree(tmp_path, **{f"{device}cur_state": "2"})).throttled_now is True
    assert host.state(tree(tmp_path, **{f"{device}type": "fan"})).throttled_now is None


def test_a_machine_says_by_which_names_it_is_known(tmp_path):
    tree = tmp_path / "proc/device-tree"
    tree.mkdir(parents=True)
    (tree / "compatible").write_bytes(b"raspberrypi,5-model-b\0brcm,bcm2712\0")
    assert host.identities(tmp_path) == {"raspberrypi,5-model-b", "brcm,bcm2712"}
    (tmp_path / "proc/cpuinfo").write_text(
        "vendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 190\nmodel name\t: N100\n"
    )
    assert host.identities(tmp_path) > {"GenuineIntel-6", "GenuineIntel-6-190"}
    assert host.identities(tmp_path / "absent") == set()
