"""The verbs: create, get, update, patch, delete, and the rules that each object is held to.

All of it is synchronous and in memory: a call happens at one moment, and whoever watches is told
before it returns. Errors are :class:`ApiError`.
"""

from __future__ import annotations

import random
import string
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from podwall.lab.apiserver import defaults, patches, status, validation
from podwall.lab.apiserver.applied import Managers
from podwall.lab.apiserver.patches import json_patch, merge, strategic_merge
from podwall.lab.apiserver.resources import BY_KIND, NAMESPACES, PODS, RESOURCES, Resource, Target
from podwall.lab.apiserver.selectors import Test, everything
from podwall.lab.apiserver.store import Object, Store, Stored, key_of, stored

FIRST_NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")
_IMMORTAL = ("default", "kube-public", "kube-system")
# The system's own fields, which no writer sets.
_OURS = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds")
_SUFFIX = string.ascii_lowercase.translate(str.maketrans("", "", "aeiouy")) + "2456789"


class Outcome(msgspec.Struct, frozen=True):
    """An object after a verb, and whether it is new."""

    version: Stored
    created: bool = False


class Deletion(msgspec.Struct, frozen=True):
    """DeleteOptions; ``grace`` in seconds, ``None`` where the object itself says."""

    grace: int | None = None
    uid: str = ""
    revision: str = ""
    dry_run: bool = False


def utc_now() -> datetime:
    """The time, as objects carry it."""
    return datetime.now(UTC)


class Api:
    """Objects and their verbs.

    ``on_termination`` is called with the key of each pod that begins to end gracefully; whoever
    plays the kubelet then deletes it with a grace of 0.
    """

    def __init__(
        self,
        store: Store | None = None,
        now: Callable[[], datetime] = utc_now,
        chance: random.Random | None = None,
    ) -> None:
        self.store = store or Store()
        self.on_termination: Callable[[str, str, str], None] = lambda _namespace, _name, _uid: None
        self._now = now
        self._chance = chance or random.Random()  # noqa: S311 - suffixes of names, no secrets
        self._managers = Managers()
        for name in FIRST_NAMESPACES:
            self.create(Target(NAMESPACES), {"metadata": {"name": name}})

    def get(self, target: Target) -> Stored:
        """One object."""
        version = self.store[target.resource].get(key_of(target.namespace, target.name))
        if version is None:
            raise status.not_found(target.resource, target.name)
        return version

    def create(self, target: Target, thing: Object, dry_run: bool = False) -> Outcome:
        """Store a new object."""
        resource = target.resource
        if target.subresource == "binding":
            return Outcome(self._bind(target, thing), created=True)
        thing = self._readable(target, thing)
        metadata = thing["metadata"]
        if metadata.get("resourceVersion"):
            raise status.ApiError(
                500, "", "resourceVersion should not be set on objects to be created"
            )
        for field in (*_OURS, "generation", "selfLink"):
            metadata.pop(field, None)
        if not metadata.get("name") and metadata.get("generateName"):
            suffix = "".join(self._chance.choices(_SUFFIX, k=5))
            metadata["name"] = metadata["generateName"] + suffix
        metadata["uid"] = str(uuid.UUID(int=self._chance.getrandbits(128), version=4))
        metadata["creationTimestamp"] = self.time()
        if resource.counts_generations:
            metadata["generation"] = 1
        self._settle(resource, thing)
        defaults.begin(resource, thing)
        if resource.namespaced and self.store[NAMESPACES].get(target.namespace) is None:
            raise status.not_found(NAMESPACES, target.namespace)
        if self.store[resource].get(key_of(target.namespace, metadata["name"])) is not None:
            raise status.already_exists(resource, metadata["name"])
        return Outcome(self._write(resource, thing, dry_run), created=True)

    def update(self, target: Target, thing: Object, dry_run: bool = False) -> Outcome:
        """Replace an object, or with a subresource its status."""
        thing = self._readable(target, thing)
        old = self.get(target)
        return Outcome(self._replace(target, old, thing, dry_run))

    def patch(
        self,
        target: Target,
        patch: Any,
        content_type: str,
        *,
        manager: str = "",
        force: bool = False,
        dry_run: bool = False,
    ) -> Outcome:
        """Change an object by a patch of one of the four kinds."""
        if content_type == patches.APPLY_PATCH:
            return self._apply(target, patch, manager, force, dry_run)
        old = self.get(target)
        before = old.decode()
        after = _patched(before, patch, content_type, target.resource)
        if not isinstance(after, dict) or not isinstance(after.get("metadata"), dict):
            raise status.bad_request("the patch leaves no metadata")
        return Outcome(self._replace(target, old, self._readable(target, after), dry_run))

    def delete(self, target: Target, options: Deletion | None = None) -> tuple[Stored, bool]:
        """Delete an object, or begin to; its last version, and whether it is gone."""
        options = options or Deletion()
        if target.resource == NAMESPACES and target.name in _IMMORTAL:
            raise status.forbidden(NAMESPACES, target.name, "this namespace may not be deleted")
        old = self.get(target)
        thing = old.decode()
        self._check_preconditions(target, thing, options)
        grace = _grace(target.resource, thing, options)
        waits = grace > 0 or bool(thing["metadata"].get("finalizers"))
        if options.dry_run:
            return old, not waits
        if not waits:
            return self._remove(target.resource, old), True
        metadata = thing["metadata"]
        # A second deletion can only shorten the wait.
        if metadata.get("deletionTimestamp") and grace >= metadata["deletionGracePeriodSeconds"]:
            return old, False
        metadata["deletionTimestamp"] = self.time(grace)
        metadata["deletionGracePeriodSeconds"] = grace
        version = self._write(target.resource, thing, dry_run=False)
        if target.resource == PODS and grace:
            self.on_termination(target.namespace, target.name, metadata["uid"])
        return version, False

    def select(
        self, target: Target, labels: Test = everything, fields: Test = everything
    ) -> list[Stored]:
        """All present objects of a resource (in a namespace) that both tests pass."""
        prefix = f"{target.namespace}/" if target.namespace else ""
        return [
            each
            for each in self.store[target.resource].at(None, prefix).after()
            if labels(each.labels) and fields(each.fields)
        ]

    def load(self, things: list[Object]) -> None:
        """Store objects as they are, unchecked, with their status; those that are there, replaced.

        What an object lacks of uid and creationTimestamp is filled in. Also the way to store what a
        server would refuse.
        """
        for thing in things:
            resource = BY_KIND[thing["apiVersion"], thing["kind"]]
            metadata = dict(thing["metadata"])
            if resource.namespaced:
                metadata.setdefault("namespace", "default")
            metadata.setdefault("uid", str(uuid.UUID(int=self._chance.getrandbits(128), version=4)))
            metadata.setdefault("creationTimestamp", self.time())
            self.store.put(resource, {**thing, "metadata": metadata})

    def _apply(
        self, target: Target, config: Any, manager: str, force: bool, dry_run: bool
    ) -> Outcome:
        if not manager:
            raise status.ApiError(
                422,
                "Invalid",
                'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: '
                "is required for apply patch",
            )
        if not isinstance(config, dict) or not isinstance(config.get("metadata"), dict):
            raise status.bad_request("error decoding YAML: it is not an object")
        keys = target.resource.merge_keys
        old = self.store[target.resource].get(key_of(target.namespace, target.name))
        if old is None:
            named = {**config["metadata"], "name": target.name}
            outcome = self.create(target, {**config, "metadata": named}, dry_run)
        else:
            merged = self._managers.apply(old.decode(), config, manager, force, keys)
            outcome = Outcome(self._replace(target, old, self._readable(target, merged), dry_run))
        if not dry_run:
            self._managers.record(outcome.version.decode(), config, manager, keys)
        return outcome

    def _replace(self, target: Target, old: Stored, thing: Object, dry_run: bool) -> Stored:
        """Store ``thing`` in place of ``old``, as far as the writer may change it."""
        resource, before = target.resource, old.decode()
        # What was loaded unchecked may lack them, and they are nobody's change.
        defaults.fill_in(resource, before)
        found = thing["metadata"].get("name")
        if found != target.name:
            raise status.bad_request(
                f"the name of the object ({found}) does not match the name on the URL "
                f"({target.name})"
            )
        metadata = thing["metadata"]
        revision = metadata.get("resourceVersion")
        if revision and revision != str(old.revision):
            raise status.conflict(resource, old.name)
        uid = metadata.get("uid")
        if uid and uid != before["metadata"].get("uid"):
            raise status.conflict(resource, old.name, _uid_words(uid, before))
        for field in (*_OURS, "generation"):
            metadata.pop(field, None)
            if field in before["metadata"]:
                metadata[field] = before["metadata"][field]
        self._keep_other_half(target, before, thing)
        self._settle(resource, thing)
        if causes := validation.change_problems(resource, before, thing):
            raise status.invalid(resource, old.name, causes)
        if resource.counts_generations and thing.get("spec") != before.get("spec"):
            metadata["generation"] = before["metadata"].get("generation", 0) + 1
        metadata["resourceVersion"] = str(old.revision)
        if _plain(thing) == _plain(before):
            return old
        version = self._write(resource, thing, dry_run)
        if metadata.get("deletionTimestamp") and not _held(thing) and not dry_run:
            return self._remove(resource, version)
        return version

    def _keep_other_half(self, target: Target, before: Object, thing: Object) -> None:
        """Status is written through its subresource only, and nothing else is."""
        if "status" not in target.resource.subresources:
            return
        kept = [field for field in before if field not in ("metadata", "status")]
        if target.subresource != "status":
            kept = ["status"]
        else:
            for field in set(thing) - {"metadata", "status"}:
                del thing[field]
        for field in kept:
            thing.pop(field, None)
            if field in before:
                thing[field] = before[field]

    def _bind(self, target: Target, binding: Object) -> Stored:
        pod = self.get(Target(PODS, target.namespace, target.name)).decode()
        if pod["spec"].get("nodeName"):
            why = f'pod {target.name} is already assigned to node "{pod["spec"]["nodeName"]}"'
            raise status.conflict(PODS, target.name, why)
        pod["spec"]["nodeName"] = binding["target"]["name"]
        return self._write(PODS, pod, dry_run=False)

    def _check_preconditions(self, target: Target, thing: Object, options: Deletion) -> None:
        metadata = thing["metadata"]
        if options.uid and options.uid != metadata["uid"]:
            raise status.conflict(target.resource, target.name, _uid_words(options.uid, thing))
        if options.revision and options.revision != metadata["resourceVersion"]:
            why = (
                f"Precondition failed: ResourceVersion in precondition: {options.revision}, "
                f"ResourceVersion in object meta: {metadata['resourceVersion']}"
            )
            raise status.conflict(target.resource, target.name, why)

    def _remove(self, resource: Resource, old: Stored) -> Stored:
        if resource == NAMESPACES:
            self._empty_namespace(old)
        last = self.store.remove(resource, old.key)
        return last or old

    def _empty_namespace(self, old: Stored) -> None:
        """What the namespace controller does, at once and without mercy."""
        thing = old.decode()
        thing["metadata"]["deletionTimestamp"] = self.time()
        thing["status"] = {"phase": "Terminating"}
        self._write(NAMESPACES, thing, dry_run=False)
        for resource in RESOURCES:
            if resource.namespaced:
                for each in self.select(Target(resource, old.name)):
                    self.store.remove(resource, each.key)

    def _readable(self, target: Target, thing: Any) -> Object:
        """A copy of ``thing`` that is an object of the target's kind and place."""
        resource = target.resource
        if not isinstance(thing, dict):
            raise status.bad_request(f"{resource.kind} in version {resource.version!r}: no object")
        copy: Object = msgspec.json.decode(msgspec.json.encode(thing))
        kind, api_version = copy.pop("kind", None), copy.pop("apiVersion", None)
        if (kind or resource.kind, api_version or resource.api_version) != (
            resource.kind,
            resource.api_version,
        ):
            raise status.bad_request(
                f'{kind} in version "{api_version}" cannot be handled as a {resource.kind}: '
                f"no kind {resource.kind!r} is registered for it"
            )
        copy["metadata"] = copy.get("metadata") or {}
        if why := validation.misfits(copy):
            raise status.bad_request(
                f'{resource.kind} in version "{resource.version}" cannot be handled as a '
                f"{resource.kind}: json: {why}"
            )
        copy["metadata"].pop("managedFields", None)
        if not resource.namespaced:
            copy["metadata"].pop("namespace", None)
        elif (copy["metadata"].get("namespace") or target.namespace) != target.namespace:
            raise status.bad_request(
                "the namespace of the provided object does not match the namespace sent on the "
                "request"
            )
        else:
            copy["metadata"]["namespace"] = target.namespace
        return copy

    def _settle(self, resource: Resource, thing: Object) -> None:
        """Fill in defaults and see whether the object can be stored."""
        try:
            defaults.fill_in(resource, thing)
            causes = validation.problems(resource, thing)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            # Real servers decode into types first; here a misfit shows when it is looked at.
            raise status.bad_request(
                f'{resource.kind} in version "{resource.version}" cannot be handled as a '
                f"{resource.kind}: json: cannot unmarshal: {error}"
            ) from error
        if causes:
            raise status.invalid(resource, thing["metadata"].get("name", ""), causes)

    def _write(self, resource: Resource, thing: Object, dry_run: bool) -> Stored:
        if dry_run:
            return stored(resource, thing, int(thing["metadata"].get("resourceVersion") or 0))
        return self.store.put(resource, thing)

    def time(self, later: int = 0) -> str:
        """The time, some seconds later, as objects carry it."""
        return (self._now() + timedelta(seconds=later)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _patched(before: Object, patch: Any, content_type: str, resource: Resource) -> Object:
    if content_type not in (patches.JSON_PATCH, patches.MERGE_PATCH, patches.STRATEGIC_PATCH):
        raise status.unsupported_media_type(patches.TYPES)
    if content_type == patches.JSON_PATCH:
        return json_patch(before, patch)
    if not isinstance(patch, dict):
        raise status.bad_request("error decoding patch: it is not an object")
    if content_type == patches.MERGE_PATCH:
        merged: Object = merge(before, patch)
        return merged
    try:
        return strategic_merge(before, patch, resource.merge_keys)
    except (AttributeError, KeyError, TypeError) as error:
        raise status.bad_request(f"error decoding patch: {error}") from error


def _grace(resource: Resource, thing: Object, options: Deletion) -> int:
    """Seconds until a pod is gone; a pod that runs nowhere has nobody to wait for."""
    if resource != PODS or not thing["spec"].get("nodeName"):
        return 0
    if (thing.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
        return 0
    if options.grace is not None:
        return options.grace
    seconds = thing["spec"].get("terminationGracePeriodSeconds", 30)
    return int(seconds)


def _held(thing: Object) -> bool:
    """Whether something keeps an object that is to be deleted: finalizers, a running pod."""
    metadata = thing["metadata"]
    return bool(metadata.get("finalizers") or metadata.get("deletionGracePeriodSeconds"))


def _plain(thing: Object) -> Object:
    """The object without what is empty, for comparing."""
    metadata = {k: v for k, v in thing["metadata"].items() if v not in (None, {}, [])}
    return {**thing, "metadata": metadata}


def _uid_words(uid: str, thing: Object) -> str:
    return (
        f"Precondition failed: UID in precondition: {uid}, "
        f"UID in object meta: {thing['metadata'].get('uid')}"
    )
