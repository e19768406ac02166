"""Staging and placing: all or nothing, again and again, and the disk's refusals in words."""

import errno
import os
from pathlib import Path

import pytest

from pipeline.stores import staging as module
from pipeline.stores.staging import Staging, clean, disk_errors, place, seal, verify
from schemas.errors import StoreError
from schemas.records import Product, Receipt


def receipt(products: tuple[Product, ...]) -> Receipt:
    return Receipt(1, 0, 0.0, "digest", products)


@pytest.fixture
def products(tmp_path: Path) -> tuple[Product, ...]:
    with Staging(str(tmp_path / "staging"), "fetch", "s/00000").opened() as folder:
        for name in "abc":
            (folder / name).write_bytes(name.encode() * 100)
    return tuple(seal(folder / name, tmp_path / "final" / name) for name in "abc")


def test_placing_moves_everything_and_may_be_repeated(products):
    place(receipt(products))
    place(receipt(products))
    assert not verify(products)
    assert not any(Path(product.staged).exists() for product in products)


def test_each_move_is_durable_before_the_next_begins(products, tmp_path, monkeypatch):
    steps, sync, replace = [], module.sync, Path.replace
    monkeypatch.setattr(module, "sync", lambda path: steps.append(path.name) or sync(path))
    monkeypatch.setattr(Path, "replace", lambda path, to: steps.append(path.name) or replace(path, to))
    place(receipt(products))
    assert steps == ["final", tmp_path.name, "a", "final", "b", "final", "c", "final"]


def test_the_last_product_never_stands_beside_others_that_are_not_its_own(products, tmp_path, monkeypatch):
    (tmp_path / "final").mkdir()
    for name in "abc":
        (tmp_path / "final" / name).write_bytes(b"old")

    def replace(path, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(KeyboardInterrupt):
        place(receipt(products))
    monkeypatch.undo()
    assert sorted(path.name for path in (tmp_path / "final").iterdir()) == ["a", "b"]
    place(receipt(products))
    assert not verify(products)


def test_placing_continues_where_it_was_interrupted(products):
    Path(products[0].final).parent.mkdir()
    Path(products[0].staged).replace(products[0].final)
    place(receipt(products))
    assert not verify(products)


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"short")])
def test_a_product_that_is_missing_or_of_another_size_moves_nothing(products, damage):
    damage(Path(products[2].staged))
    with pytest.raises(StoreError, match=r"expected 100 bytes, found (nothing|5 bytes)") as caught:
        place(receipt(products))
    assert caught.value.remedy and not any(Path(product.final).exists() for product in products)


def test_a_final_file_that_is_damaged_and_not_staged_again_is_a_fault(products):
    place(receipt(products))
    Path(products[1].final).write_bytes(b"x" * 100)
    assert verify(products) == [products[1]]
    with pytest.raises(StoreError, match="found nothing"):
        place(receipt(products))


def test_another_file_system_is_refused_before_the_first_move(products, monkeypatch):
    devices = iter(range(1, 100))
    real = Path.stat

    def stat(path, **settings):
        found = real(path, **settings)
        return type(
            "Stat", (), {"st_size": found.st_size, "st_mode": found.st_mode, "st_dev": next(devices)}
        )()

    monkeypatch.setattr(Path, "stat", stat)
    with pytest.raises(StoreError, match="different file systems"):
        place(receipt(products))
    monkeypatch.undo()
    assert not any(Path(product.final).exists() for product in products)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the disk is full.*7,000 bytes needed"),
        (errno.EDQUOT, "the disk is full"),
        (errno.EACCES, "cannot write .*Permission denied"),
        (errno.EROFS, "cannot write .*Read-only"),
        (errno.EIO, "cannot write .*put error"),
    ],
)
def test_refusals_of_the_disk_name_the_path_and_the_remedy(tmp_path, number, words):
    with pytest.raises(StoreError, match=words) as caught, disk_errors(tmp_path / "new" / "file", 7000):
        raise OSError(number, os.strerror(number))
    assert str(tmp_path) in caught.value.message and caught.value.remedy


def test_a_full_disk_while_moving_is_named_and_the_next_placing_finishes(products, monkeypatch):
    real, calls = Path.replace, []

    def replace(path, target):
        calls.append(path)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, target)

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(StoreError, match="the disk is full"):
        place(receipt(products))
    place(receipt(products))
    assert not verify(products)


def test_a_file_that_cannot_be_made_durable_is_a_fault(products, monkeypatch):
    def fsync(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(StoreError, match="the disk is full"):
        seal(Path(products[0].staged), Path(products[0].final))


def test_a_failed_attempt_leaves_no_folder_and_twins_do_not_share_one(tmp_path):
    staging = Staging(str(tmp_path), "fetch", "s/00000", attempt=3)
    with staging.opened() as one, staging.opened() as other:
        assert one != other and one.name.startswith("s-00000-a3-")
    clean(one)
    clean(one)
    with pytest.raises(KeyboardInterrupt), staging.opened() as folder:
        (folder / "half").write_bytes(b"1")
        raise KeyboardInterrupt
    assert list((tmp_path / "fetch").iterdir()) == [other]
