from byop.client.waiting import attempts


class FakeTime:
    def __init__(self) -> None:
        self.now_s = 0.0
        self.pauses: list[float] = []

    def clock(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now_s += seconds


def test_attempts_go_on_until_the_limit_at_growing_distances() -> None:
    time = FakeTime()
    waited = list(attempts(10, clock=time.clock, sleep=time.sleep))
    assert waited[0] == 0.0
    assert waited[-1] == 10.0
    assert time.pauses[:-1] == sorted(time.pauses[:-1])
    assert max(time.pauses) == 1.0
    assert sum(time.pauses) == 10.0


def test_there_is_one_attempt_however_short_the_limit() -> None:
    time = FakeTime()
    assert list(attempts(0, clock=time.clock, sleep=time.sleep)) == [0.0]
    assert time.pauses == []
