"""posthog (Python)."""

import os

from posthog import Posthog

client = Posthog(os.environ["KEY"], host=os.environ["HOST"], flush_at=5, flush_interval=0.1, max_retries=10)
for number in range(int(os.environ["COUNT"])):
    client.capture(f"Event {number}", distinct_id=os.environ["CUSTOMER"], properties={"number": number})
client.shutdown()
