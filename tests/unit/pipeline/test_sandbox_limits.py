from pipeline.sandbox.limits import ConnectionLimit, RateLimit


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Connection:
    pass


def test_a_client_at_the_rate_is_never_refused() -> None:
    clock = Clock()
    limit = RateLimit(10, clock)
    for _ in range(100):
        assert limit.admits()
        clock.now += 0.1


def test_a_client_twice_too_fast_is_refused_half_the_time_after_its_burst() -> None:
    clock = Clock()
    limit = RateLimit(10, clock)
    admitted = 0
    for _ in range(400):
        admitted += limit.admits()
        clock.now += 0.05
    assert 200 <= admitted <= 212


def test_no_rate_admits_all() -> None:
    assert all(RateLimit(None).admits() for _ in range(1000))


def test_an_admitted_connection_stays_admitted_and_a_closed_one_makes_room() -> None:
    limit = ConnectionLimit(2)
    a, b, c = Connection(), Connection(), Connection()
    assert limit.admits(a, [a]) and limit.admits(b, [a, b])
    assert not limit.admits(c, [a, b, c])
    assert limit.admits(a, [a, b, c])
    assert limit.admits(c, [b, c])
