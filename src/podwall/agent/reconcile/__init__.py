"""From events to the kernel: a thread that keeps one node's rules at what the cluster says.

:class:`~podwall.agent.reconcile.reconciler.Reconciler` is the thread, its queue and its answers;
:class:`~podwall.agent.reconcile.keeper.Keeper` is what it does: gate, apply, check, repair, retry.
Beside it :class:`~podwall.agent.reconcile.cutter.Cutter` ends connections that are not allowed any
more. What happens is told to an :class:`~podwall.agent.reconcile.observer.Observer`.
"""

from podwall.agent.reconcile.observer import Observer
from podwall.agent.reconcile.options import ReconcileOptions
from podwall.agent.reconcile.picture import Picture
from podwall.agent.reconcile.reconciler import Reconciler

__all__ = ["Observer", "Picture", "ReconcileOptions", "Reconciler"]
