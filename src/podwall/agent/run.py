"""An agent from its configuration to its end: puts the parts together and takes them apart.

The event loop in this thread watches the API server, answers HTTP and the control socket, and
writes Events; the reconciler's threads write the kernel. A signal ends the agent within about a
second, and what the kernel holds stays: the next agent finds it and has nothing to write.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import time
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, assert_never

import msgspec

from podwall import __version__
from podwall.agent.config.loading import AgentConfig, Loaded
from podwall.agent.control import asking, telling
from podwall.agent.control.answers import LiveAnswer
from podwall.agent.control.server import ControlServer, Stream
from podwall.agent.control.words import (
    AskAudit,
    AskCluster,
    AskDiff,
    AskDrops,
    AskExplain,
    AskPairs,
    AskStatus,
    Request,
    socket_path,
)
from podwall.agent.denied.asking import audited_policies, find_audited
from podwall.agent.denied.auditing import AuditLedger
from podwall.agent.denied.naming import Namer
from podwall.agent.denied.opening import open_log
from podwall.agent.denied.record import Named, Record
from podwall.agent.denied.service import Denials
from podwall.agent.denied.telling import News
from podwall.agent.denied.watch import DeniedPackets, Surroundings
from podwall.agent.lock import KERNEL_LOCK_NAME, LEDGER_NAME, agent_lock, make_state_dir
from podwall.agent.reconcile import ReconcileOptions, Reconciler
from podwall.agent.report.denied import DenialEvents
from podwall.agent.report.events import PolicyEvents
from podwall.agent.report.health import Health, Pulse, stuck_after
from podwall.agent.report.logs import set_up_logging
from podwall.agent.report.metrics import Metrics
from podwall.agent.report.reporter import CountingFeed, Reporter
from podwall.agent.report.watchlog import WatchLog
from podwall.agent.report.web import Web
from podwall.agent.status import DeniedStatus, ObjectProblem
from podwall.agent.watch.client import ApiClient
from podwall.agent.watch.credentials import Access, load_access
from podwall.agent.watch.ownranges import OwnRanges
from podwall.agent.watch.reflector import reflectors
from podwall.cluster.events import ObjectKey
from podwall.dataplane.command import DEFAULT_TIMEOUT, SystemRunner
from podwall.dataplane.hostlock import LOCK_FILE
from podwall.dataplane.kernel import KernelDataPlane, open_kernel
from podwall.dataplane.nflog import LoggedPacket
from podwall.errors import AgentError, InputError, PodwallError
from podwall.model.objects import PodKey
from podwall.model.policy import PolicyKey

log = logging.getLogger("podwall.agent")

STOP_WITHIN = 0.8
"""Seconds that a write under way gets to end. The program that writes ends by itself then."""

FAILED, UNUSABLE, INTERRUPTED = 3, 2, 130
"""Exit statuses, as all commands have them."""


def run_agent(loaded: Loaded) -> int:
    """Run until a signal ends it; the exit status."""
    config = loaded.config
    set_up_logging(config.log_format, config.log_level)
    for each in loaded.warnings:
        log.warning("%s", each)
    try:
        state_dir = Path(config.state_dir)
        make_state_dir(state_dir)
        with agent_lock(state_dir):
            return asyncio.run(_run(config))
    except InputError as error:
        log.error("%s", error)
        return UNUSABLE
    except PodwallError as error:
        log.error("%s", error)
        return FAILED


async def _run(config: AgentConfig) -> int:
    kubeconfig = Path(config.kubeconfig) if config.kubeconfig else None
    access = await load_access(kubeconfig, config.context or None)
    # From here on there is something to end in good order.
    stopped: asyncio.Future[signal.Signals] = asyncio.get_running_loop().create_future()
    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, _stop, stopped, each)
    agent = Agent(config, access)
    async with agent.running() as failed:
        await asyncio.wait((stopped, failed), return_when=asyncio.FIRST_COMPLETED)
        if failed.done():
            failed.result()
    log.info("stopped by %s; the rules stay in force", stopped.result().name)
    return INTERRUPTED if stopped.result() is signal.SIGINT else 0


def _stop(stopped: asyncio.Future[signal.Signals], received: signal.Signals) -> None:
    if not stopped.done():
        stopped.set_result(received)


class Agent:
    """The parts of one agent; :meth:`running` is their life."""

    def __init__(self, config: AgentConfig, access: Access) -> None:
        self._config = config
        self._runner = SystemRunner(config.prefix)
        self._metrics = Metrics(__version__)
        self._loop = asyncio.get_running_loop()
        reporter = Reporter(self._metrics, self._on_problem, self._on_sync)
        options = ReconcileOptions(
            check_every=config.check_every, lock_file=_host_lock(config), retry_longest=30
        )
        self._reconciler = Reconciler(
            config.node_name, config.settings, self._open_kernel, reporter, options
        )
        self._access = access
        self._client = ApiClient(access)
        own = OwnRanges(self._reconciler, config.node_name, config.pod_cidrs)
        feed = CountingFeed(own, self._metrics)
        self._reflectors = reflectors(self._client, feed, config.node_name)
        self._health = Health(
            config.node_name, self._reconciler, self._reflectors, config.unready_after
        )
        self._synced = False
        self._record = Record(AuditLedger(Path(config.state_dir) / LEDGER_NAME, time.time))
        self._news = News(self._loop)
        self._denied = self._denied_packets()
        self._health.denied = self._denied.status
        self._denials = Denials(config.node_name, self._record, self._news, self._denied.status)
        self._metrics.follow(self._health.status)
        self._pulse = Pulse(
            self._reconciler.ask, self._reconciler.ended, stuck_after(config.lock_wait)
        )
        self._web = Web(self._pulse.why_dead, self._health.why_not_ready, self._metrics.render)
        self._control = ControlServer(socket_path(config.state_dir), self._answer)
        self._events = PolicyEvents(
            self._client, config.node_name, self._isolated, self._metrics.wrote_event
        )
        self._denial_events = DenialEvents(
            self._client, config.node_name, self._metrics.wrote_event
        )

    def _denied_packets(self) -> DeniedPackets[LoggedPacket]:
        config, ask = self._config, self._reconciler.ask
        around: Surroundings[LoggedPacket] = Surroundings(
            open=lambda: open_log(config.log_group, self._runner, config.prefix),
            wanted=self._wants_denied,
            name=Namer(config.node_name, config.settings, ask).name,
            audited=lambda: ask(audited_policies).result(),
            told=self._on_denied,
        )
        status = DeniedStatus(logging=config.log_denied, group=config.log_group)
        return DeniedPackets(status, around, self._record)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Future[None]]:
        """Everything runs; what is handed out ends with the error of the first part that fails."""
        config = self._config
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(self._client)
            stack.push_async_callback(self._web.stop)
            self._health.listening = await self._web.start(config.listen, config.metrics_listen)
            await self._control.start()
            stack.push_async_callback(self._control.stop)
            self._reconciler.start()
            stack.callback(self._stop_reconciler)
            self._denied.start()
            stack.callback(self._denied.stop, STOP_WITHIN / 2)
            log.info("%s", self._greeting())
            failed = self._loop.create_future()
            parts = [each.run() for each in self._reflectors]
            parts += [self._pulse.run(), WatchLog(self._reflectors).run()]
            if config.events:
                parts.append(self._events.run())
            if config.denied_events:
                parts.append(self._denial_events.run())
            tasks = [asyncio.create_task(_watched(each, failed)) for each in parts]
            stack.push_async_callback(_cancel, tasks)
            yield failed

    def _greeting(self) -> str:
        where = ", ".join(self._health.listening) or "nowhere"
        return (
            f"podwall {__version__} on node {self._config.node_name}: watches "
            f"{self._access.base_url}, listens on {where}"
        )

    def _stop_reconciler(self) -> None:
        if not self._reconciler.stop(STOP_WITHIN):
            log.warning("a write to the kernel is still under way; the next agent goes on from it")

    def _open_kernel(self) -> KernelDataPlane:
        lock_wait = round(self._config.lock_wait)
        # Who waits for the lock must not be taken for a program that hangs.
        timeout = lock_wait + DEFAULT_TIMEOUT
        return open_kernel(self._runner, self._config.iptables_mode, lock_wait, timeout)

    def _on_sync(self) -> None:
        self._synced = True
        _settle_memory()

    def _wants_denied(self) -> bool:
        """Whether the kernel logs anything, and there is a cluster to name it by."""
        logged = self._config.log_denied or self._reconciler.enforced().audited_policies > 0
        return self._synced and logged

    def _on_denied(self, denials: Sequence[Named]) -> None:
        for each in denials:
            self._metrics.denied(each.kind, each.direction, each.namespace)
        self._news.tell()
        if self._config.denied_events:
            with contextlib.suppress(RuntimeError):  # The loop has ended already.
                self._loop.call_soon_threadsafe(self._denial_events.note, denials)

    def _on_problem(self, key: ObjectKey, problems: tuple[ObjectProblem, ...]) -> None:
        with contextlib.suppress(RuntimeError):  # The loop has ended already.
            self._loop.call_soon_threadsafe(self._events.note, key, problems)

    async def _isolated(
        self, policies: Sequence[PolicyKey]
    ) -> Mapping[PolicyKey, tuple[PodKey, ...]] | None:
        question = self._reconciler.ask(lambda picture: asking.isolated_here(picture, policies))
        return await asyncio.wrap_future(question)

    async def _answer(self, request: Request) -> object:
        match request:
            case AskStatus():
                return self._health.status()
            case AskDiff():
                return await asyncio.wrap_future(self._reconciler.ask(asking.find_difference))
            case AskExplain(source, target, service):
                waiting = self._reconciler.waiting()
                explained = self._reconciler.ask(
                    lambda picture: asking.explain_connection(picture, source, target, service)
                )
                found = await asyncio.wrap_future(explained)
                return LiveAnswer(self._config.node_name, found, waiting)
            case AskCluster(known):
                gathering = self._reconciler.ask(lambda picture: telling.gather(picture, known))
                gathered = await asyncio.wrap_future(gathering)
                waiting = self._reconciler.waiting()
                head = msgspec.structs.replace(gathered.head, waiting=waiting)
                return Stream(head, telling.tell(gathered))
            case AskDrops():
                return self._denials.drops(request)
            case AskPairs():
                return self._denials.pairs()
            case AskAudit():
                audited = await asyncio.wrap_future(self._reconciler.ask(find_audited))
                return self._denials.audit(audited)
            case _:
                assert_never(request)


async def _watched(part: Coroutine[Any, Any, None], failed: asyncio.Future[None]) -> None:
    """Run a part that ought to run for ever."""
    try:
        await part
    except Exception as error:
        log.exception("a part of the agent failed")
        if not failed.done():
            failed.set_exception(AgentError(f"a part of the agent failed: {error!r}"))


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    for each in tasks:
        each.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _host_lock(config: AgentConfig) -> Path:
    """Who programs another network namespace than the host's does not need the host's lock."""
    return Path(config.state_dir) / KERNEL_LOCK_NAME if config.prefix else LOCK_FILE


def _settle_memory() -> None:
    """What the first picture is made of stays, so the collector need not look at it again."""
    gc.collect()
    gc.freeze()
