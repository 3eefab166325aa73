"""segment-analytics-python."""

import os

from segment.analytics.client import Client

client = Client(os.environ["KEY"], host=os.environ["HOST"], upload_size=5, upload_interval=0.1)
for number in range(int(os.environ["COUNT"])):
    client.track(os.environ["CUSTOMER"], f"Event {number}", {"number": number})
client.flush()
client.join()
