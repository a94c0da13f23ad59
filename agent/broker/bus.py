"""The station's MQTT 5 connection over paho-mqtt.

paho runs on its own thread. Its callbacks only hand events to the event loop (``call_soon_threadsafe``), in order;
all state but ``_generation`` and ``_stopping`` belongs to the loop. The queue needs no further bound: the broker
sends at most ``RECEIVE_MAXIMUM`` messages that are not acknowledged, and QoS 0, which knows no such limit, is not
accepted.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from agent.broker.errors import BrokerUnavailableError, MessageTooLargeError, PublishRefusedError
from protocol.ids import parse_name
from protocol.limits import MAX_MESSAGE_BYTES
from protocol.topics import station_filters

if TYPE_CHECKING:
    from agent.broker.port import Broker, Presence

RECEIVE_MAXIMUM: Final = 64
"""Messages taken over but not yet in the journal; 64 of the largest are 16 MiB."""

MAX_IN_FLIGHT: Final = 20
"""Own messages awaiting PUBACK: below the receive maximum of every broker we know (EMQX: 32)."""

KEEPALIVE_S: Final = 30
"""A dead connection is noticed within one and a half times this."""

MAX_RECONNECT_DELAY_S: Final = 30
PUBACK_TIMEOUT_S: Final = 60
"""A broker that is connected and silent for so long is treated as absent."""

_SESSION_NEVER_EXPIRES: Final = 0xFFFF_FFFF
_PACKET_OVERHEAD_BYTES: Final = 1024
_RESUBSCRIBE_AFTER_S: Final = 30

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedMessage:
    """A message as it came, with the way to acknowledge it on the connection it came by."""

    topic: str
    payload: bytes
    acknowledge: Callable[[], None]

    def ack(self) -> None:
        self.acknowledge()


class MqttBus:
    """Implements ``agent.broker.port.Broker``; the client id is the certificate's name, the station's."""

    def __init__(
        self, *, host: str, port: int, context: ssl.SSLContext, station: str, presence: Presence
    ) -> None:
        self._address = (host, port)
        self._station = parse_name(station, "station")
        self._presence = presence
        self._generation = 0
        self._generation_lock = threading.Lock()
        self._stopping = False
        self._pending: dict[int, asyncio.Future[ReasonCode]] = {}
        self._queue: asyncio.Queue[ReceivedMessage | None] = asyncio.Queue()
        self._connected = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client = self._make_client(context)

    def _make_client(self, context: ssl.SSLContext) -> Client:
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._station,
            protocol=MQTTProtocolVersion.MQTTv5,
            manual_ack=True,
        )
        client.tls_set_context(context)
        client.will_set(self._presence.topic, self._presence.offline, qos=1, retain=True)
        client.max_inflight_messages_set(MAX_IN_FLIGHT)
        client.reconnect_delay_set(1, MAX_RECONNECT_DELAY_S)
        client.on_pre_connect = self._thread_pre_connect
        client.on_socket_open = self._thread_socket_open
        client.on_connect = self._thread_connect
        client.on_connect_fail = self._thread_connect_fail
        client.on_disconnect = self._thread_disconnect
        client.on_subscribe = self._thread_subscribe
        client.on_message = self._thread_message
        client.on_publish = self._thread_publish
        return client

    # --- the port, on the event loop ---------------------------------------------------------------------------

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        host, port = self._address
        self._client.connect_async(
            host, port, KEEPALIVE_S, clean_start=False, properties=_connect_properties()
        )
        self._client.loop_start()

    async def stop(self) -> None:
        self._stopping = True
        self._connected.clear()  # an end that was asked for is not reported as a loss
        # the broker says "offline" for us: the same words whether the station stops, dies or loses its line
        self._client.disconnect(ReasonCode(PacketTypes.DISCONNECT, "Disconnect with will message"))
        await asyncio.to_thread(self._client.loop_stop)
        self._lose_connection("stopped")
        self._queue.put_nowait(None)

    async def wait_connected(self) -> None:
        await self._connected.wait()

    @property
    def connected(self) -> bool:
        return self._connected.is_set()

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        if len(payload) > MAX_MESSAGE_BYTES:
            raise MessageTooLargeError(f"a message of {len(payload)} bytes, more than {MAX_MESSAGE_BYTES}")
        if not self.connected:
            raise BrokerUnavailableError("not connected to the broker")
        reason = await self._send(topic, payload, retain)
        if reason.value >= 0x80:
            raise PublishRefusedError(topic, reason.value, reason.getName())

    async def _send(self, topic: str, payload: bytes, retain: bool) -> ReasonCode:
        info = self._client.publish(topic, payload, qos=1, retain=retain)
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise BrokerUnavailableError(f"not sent: {info.rc.name}")
        acknowledged: asyncio.Future[ReasonCode] = asyncio.get_running_loop().create_future()
        self._pending[info.mid] = acknowledged
        try:
            async with asyncio.timeout(PUBACK_TIMEOUT_S):
                return await acknowledged
        except TimeoutError as error:
            raise BrokerUnavailableError(f"no acknowledgement within {PUBACK_TIMEOUT_S} s") from error
        finally:
            self._pending.pop(info.mid, None)

    async def messages(self) -> AsyncIterator[ReceivedMessage]:
        while (message := await self._queue.get()) is not None:
            yield message

    # --- on the event loop, from paho --------------------------------------------------------------------------

    def _subscribed(self, reasons: list[ReasonCode]) -> None:
        if any(reason.is_failure for reason in reasons):
            _log.error("subscription refused", extra={"reasons": [str(reason) for reason in reasons]})
            asyncio.get_running_loop().call_later(_RESUBSCRIBE_AFTER_S, self._subscribe)
            return
        _log.info("broker connected")
        self._connected.set()

    def _lose_connection(self, reason: str) -> None:
        """What was not acknowledged comes again; what was not acknowledged to us fails."""
        if self._connected.is_set():
            _log.warning("broker connection lost", extra={"reason": reason})
        self._connected.clear()
        while not self._queue.empty():
            self._queue.get_nowait()
        pending, self._pending = self._pending, {}
        for future in pending.values():
            if not future.done():
                future.set_exception(BrokerUnavailableError("connection lost before the acknowledgement"))

    def _acknowledged(self, mid: int, reason: ReasonCode) -> None:
        future = self._pending.get(mid)
        if future is not None and not future.done():
            future.set_result(reason)

    # --- on paho's thread --------------------------------------------------------------------------------------

    def _hand_over(self, callback: Callable[..., None], *arguments: object) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody is left to tell
            if self._loop is not None:
                self._loop.call_soon_threadsafe(callback, *arguments)

    def _thread_pre_connect(self, _client: Client, _userdata: object) -> None:
        # publishers were told that these failed and decide themselves whether to repeat them
        self._client.drop_out_messages()

    def _thread_socket_open(self, _client: Client, _userdata: object, opened: object) -> None:
        if isinstance(opened, socket.socket):
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _thread_connect(
        self,
        _client: Client,
        _userdata: object,
        _flags: ConnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if reason.is_failure:
            _log.warning("broker refused the connection", extra={"reason": str(reason)})
            return
        if self._stopping:  # asked to stop while it was connecting: paho goes on otherwise
            self._client.disconnect()
            return
        self._client.publish(self._presence.topic, self._presence.online, qos=1, retain=True)
        self._subscribe()

    def _subscribe(self) -> None:
        self._client.subscribe([(topic, SubscribeOptions(qos=1)) for topic in station_filters(self._station)])

    def _thread_connect_fail(self, _client: Client, _userdata: object) -> None:
        _log.warning("broker not reachable", extra={"host": self._address[0], "port": self._address[1]})

    def _thread_disconnect(
        self,
        _client: Client,
        _userdata: object,
        _flags: DisconnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        with self._generation_lock:
            self._generation += 1
        self._hand_over(self._lose_connection, str(reason))

    def _thread_subscribe(
        self,
        _client: Client,
        _userdata: object,
        _mid: int,
        reasons: list[ReasonCode],
        _properties: Properties | None,
    ) -> None:
        self._hand_over(self._subscribed, reasons)

    def _thread_message(self, _client: Client, _userdata: object, message: MQTTMessage) -> None:
        if message.qos != 1:
            _log.warning("message without QoS 1 ignored", extra={"topic": message.topic})
            return
        received = ReceivedMessage(
            topic=message.topic,
            payload=bytes(message.payload),
            acknowledge=self._acknowledger(message.mid, self._generation),
        )
        self._hand_over(self._queue.put_nowait, received)

    def _acknowledger(self, mid: int, generation: int) -> Callable[[], None]:
        open_ids = {mid}

        def acknowledge() -> None:
            # packet ids are reused, at the latest after a reconnection: an old one could acknowledge a message
            # that nobody has read
            with self._generation_lock:
                if generation == self._generation and open_ids:
                    self._client.ack(open_ids.pop(), 1)

        return acknowledge

    def _thread_publish(
        self,
        _client: Client,
        _userdata: object,
        mid: int,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        self._hand_over(self._acknowledged, mid, reason)


def _connect_properties() -> Properties:
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = _SESSION_NEVER_EXPIRES
    properties.ReceiveMaximum = RECEIVE_MAXIMUM
    properties.MaximumPacketSize = MAX_MESSAGE_BYTES + _PACKET_OVERHEAD_BYTES
    return properties


if TYPE_CHECKING:
    _: type[Broker] = MqttBus
