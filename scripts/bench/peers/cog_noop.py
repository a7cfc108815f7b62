"""The model that the service is measured with, as cog serves it: it does nothing, for as long as it is asked to, and says when it began."""

import time

from cog import BaseRunner, Input


class Noop(BaseRunner):
    def run(self, text: str = Input(), seconds: float = Input(default=0)) -> str:
        begun = time.time()
        time.sleep(seconds)
        return f"{text} {begun:.6f}"
