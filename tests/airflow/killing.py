"""What stands before a DAG whose task is killed while it is deferred: Airflow 3.3 and newer, under dag.test()."""

from __future__ import annotations

# As the triggerer does when somebody marks the task as failed, here once the trigger has looked at its pod: cancel
# run(), then on_kill(), then cleanup(); the task is not resumed.
KILL = """
import asyncio
from airflow.providers.cncf.kubernetes.hooks.kubernetes import AsyncKubernetesHook
from airflow.sdk.definitions import dag as running
get_pod, run_trigger = AsyncKubernetesHook.get_pod, running._run_inline_trigger
class Killed:
    def __init__(self, trigger):
        self.trigger = trigger
    async def run(self):
        seen = asyncio.Event()
        async def get_and_tell(*args, **kwargs):
            try:
                return await get_pod(*args, **kwargs)
            finally:
                seen.set()
        async def watch():
            return [event async for event in self.trigger.run()]
        AsyncKubernetesHook.get_pod = get_and_tell
        watching = asyncio.create_task(watch())
        await asyncio.wait_for(seen.wait(), 60)
        watching.cancel("Trigger cancelled by user action")
        await asyncio.wait([watching])
        await self.trigger.on_kill()
        await self.trigger.cleanup()
        raise SystemExit("KILLED while deferred")
        yield
running._run_inline_trigger = lambda trigger, ti: run_trigger(Killed(trigger), ti)
"""
