"""What the jobs' tests have done: tasks that take their time and leave a file each; it goes on where it was ended."""

import os
import sys
import time
from pathlib import Path

from distributed import Client, as_completed


def task(number: int, folder: str, seconds: float) -> int:
    with Path(folder, "begun").open("a") as file:
        file.write(f"{number}\n")
    time.sleep(seconds)
    with Path(folder, "ended").open("a") as file:
        file.write(f"{number}\n")
    return number


def main(folder: Path, count: int, seconds: float) -> None:
    """Do what is not in ``received``: the receipts that this process has had."""
    received = folder / "received"
    have = {int(word) for word in received.read_text().split()} if received.exists() else set()
    with Client(scheduler_file=os.environ["SKYMILL_CLUSTER__ADDRESS"]) as client:
        client.upload_file(__file__)
        todo = [number for number in range(count) if number not in have]
        for future in as_completed(client.map(task, todo, folder=str(folder), seconds=seconds, pure=False)):
            with received.open("a") as file:
                file.write(f"{future.result()}\n")
            future.release()  # else Dask makes again what is lost with a worker


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
