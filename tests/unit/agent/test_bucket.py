"""Load that goes on is slowed down, a burst is not."""

from __future__ import annotations

import pytest

from podwall.agent.bucket import TokenBucket


def test_a_burst_is_not_slowed_down_and_load_that_goes_on_is() -> None:
    now = [0.0]
    bucket = TokenBucket(10, 3, lambda: now[0])
    for _ in range(2):
        bucket.spend()
        assert bucket.delay() == 0
    bucket.spend()
    assert bucket.delay() == pytest.approx(0.1)
    now[0] += 0.1
    assert bucket.delay() == pytest.approx(0)
    now[0] += 100
    for _ in range(3):
        assert bucket.delay() == 0
        bucket.spend()
    assert bucket.delay() == pytest.approx(0.1)


def test_work_is_rationed_by_the_second() -> None:
    now = [0.0]
    bucket = TokenBucket(0.1, 1.0, lambda: now[0])
    bucket.spend(0.9)
    assert bucket.delay(0) == 0
    bucket.spend(0.3)
    assert bucket.delay(0) == pytest.approx(2)
    now[0] += 2
    assert bucket.delay(0) == pytest.approx(0)
