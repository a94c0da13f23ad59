"""What to do about a trouble at a bay (处置建议): for each code one step that whoever stands there can take. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from agent.core.bay import Sentence

WRONG_PASSWORD: Final = "wrong-password"  # noqa: S105 - a code

_AGAIN: Final = Sentence(
    "请取出记录仪，稍等片刻后重新放入；仍不行请换一个采集口",
    "Take the recorder out, wait a moment and dock it again; if that does not help, try another bay",
)
_ADMINISTRATOR: Final = Sentence(
    "请联系管理员；记录仪中的文件未被改动",
    "Call the administrator; nothing on the recorder was changed",
)
_REPAIR: Final = Sentence(
    "请停用此记录仪或存储卡并送修，切勿格式化；文件仍在其中",
    "Stop using this recorder or card and have it repaired; do not format it: its files are still on it",
)
_STATION: Final = Sentence(
    "采集站需要检修：请管理员查看磁盘与运行日志；记录仪中的文件未被改动",
    "The station needs attention: have its disk and log looked at; nothing on the recorder was changed",
)

_ADVICE: Final[Mapping[str, Sentence]] = {
    "device-unknown": Sentence(
        "不认识此设备：请管理员用 zhilu-agent profiles new 为其建立固件配置",
        "Unknown device: the administrator can make a profile for it with zhilu-agent profiles new",
    ),
    "device-not-allowed": Sentence(
        "采集口只接受记录仪：请拔下此设备，并报告发现的键盘、网卡等可疑设备",
        "Bays are for recorders only: unplug this device, and report keyboards or network adapters found here",
    ),
    "family-off": Sentence(
        "此型号的配置尚未启用：请管理员核实后在 agent.toml 的 families_on 中启用",
        "The profile of this family is off: once verified, the administrator turns it on in families_on of agent.toml",
    ),
    "not-this-family": Sentence(
        "设备的应答与其型号不符：请管理员核对型号和固件版本，未向设备发送任何其他指令",
        "The device does not answer as its family does: check model and firmware; nothing else was sent to it",
    ),
    WRONG_PASSWORD: Sentence(
        "请管理员核对此型号的设备密码后重新放入；多次输错可能锁定记录仪，采集站不会自动重试",
        "Have the administrator check this family's password, then dock again; the station does not retry by itself",
    ),
    "password-missing": Sentence(
        "采集站没有此型号的设备密码：请管理员在 secrets.toml 中设置",
        "The station has no password for this family: the administrator sets it in secrets.toml",
    ),
    "password-unfit": Sentence(
        "设置的设备密码不符合此型号的格式：请管理员更正 secrets.toml",
        "The password that is set does not fit this family: the administrator corrects secrets.toml",
    ),
    "device-refused": _AGAIN,
    "libusb-missing": Sentence(
        "采集站缺少 libusb：请管理员安装 libusb-1.0-0 后重启采集程序",
        "The station has no libusb: the administrator installs libusb-1.0-0 and restarts the station",
    ),
    "mount-busy": Sentence(
        "存储正被占用：请管理员关闭采集站上打开该存储的程序，然后重新放入",
        "Something on the station still uses the storage: close it, then dock the recorder again",
    ),
    "switch-failed": _AGAIN,
    "no-storage": Sentence(
        "未发现存储：请确认记录仪已插好存储卡并已开机，然后重新放入",
        "No storage showed itself: make sure the recorder has its card and is switched on, then dock it again",
    ),
    "device-restless": Sentence(
        "记录仪反复断开：请检查接口和线缆，或换一个采集口",
        "The recorder keeps disconnecting: look at plug and cable, or try another bay",
    ),
    "device-silent": _AGAIN,
    "device-gone": _AGAIN,
    "transfer-refused": _AGAIN,
    "device-busy": Sentence(
        "有其他程序占用此设备：请管理员关闭采集站上的厂商软件",
        "Another program holds the device: have the administrator close vendor software on the station",
    ),
    "device-forbidden": Sentence(
        "采集站没有访问此设备的权限：请管理员安装 udev 规则",
        "The station may not open the device: the administrator has to install its udev rules",
    ),
    "mount-failed": _REPAIR,
    "mount-refused": _ADMINISTRATOR,
    "mounter-away": Sentence(
        "挂载服务未运行：请管理员启动 zhilu-mounter",
        "The mount helper is not running: the administrator has to start zhilu-mounter",
    ),
    "volume-unreadable": _REPAIR,
    "too-many-files": _ADMINISTRATOR,
    "recorder-refused": Sentence(
        "无法确认记录仪归属：请管理员在 agent.toml 的 [holders] 中登记其编号",
        "Nobody is registered as this recorder's holder: the administrator adds its number to [holders]",
    ),
    "profile-conflict": _ADMINISTRATOR,
    "profile-unknown": _ADMINISTRATOR,
    "files-unreadable": _REPAIR,
    "recorder-left": Sentence(
        "请重新放入，采集会从中断处继续", "Dock it again: reading goes on where it stopped"
    ),
    "spool-full": Sentence(
        "请勿取走：上传后空间会自动释放；若长时间不变，请管理员检查网络和磁盘",
        "Leave it: space comes back as files are delivered; if nothing moves, have network and disk looked at",
    ),
    "volume-dirty": Sentence(
        "存储上次未正常关闭，为避免损坏不予清除；请在记录仪上正常关机后重新放入",
        "The storage was not left in order, so nothing is erased: shut the recorder down properly, then dock it again",
    ),
    "volume-read-only": Sentence(
        "存储已写保护或已损坏，无法清除：请检查保护开关，必要时更换存储卡",
        "The storage is write-protected or worn out and was not cleared: look at its lock switch, or replace the card",
    ),
    "volume-changed": Sentence(
        "清除前存储卡被更换，未作任何清除；请重新放入",
        "The card was exchanged before clearing; nothing was erased: dock the recorder again",
    ),
    "erasure-unsure": _AGAIN,
    "internal-error": Sentence(
        "采集程序在此采集口出错，稍后会自动重试：请管理员查看运行日志；记录仪中的文件未被改动",
        "The station made a mistake at this bay and tries again: have its log looked at; nothing was changed",
    ),
    "journal-storage": _STATION,
    "journal-error": _STATION,
    "spool-error": _STATION,
    "spool-read-back-differs": _STATION,
    "station-storage-fault": _STATION,
}


def advice_on(code: str) -> Sentence:
    """The next step for this code; for one that is not listed, the administrator."""
    return _ADVICE.get(code, _ADMINISTRATOR)
