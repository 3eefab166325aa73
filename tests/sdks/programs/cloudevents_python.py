"""cloudevents: the package makes the events; the sender tries again until it is answered 200, as every sender must."""

import os
import time
import uuid

import httpx
from cloudevents.core.bindings.http import to_structured_event
from cloudevents.core.v1.event import CloudEvent

with httpx.Client() as client:
    for number in range(int(os.environ["COUNT"])):
        attributes = {
            "id": str(uuid.uuid4()),
            "source": "/sdks",
            "type": f"Event {number}",
            "subject": os.environ["CUSTOMER"],
            "specversion": "1.0",
        }
        message = to_structured_event(CloudEvent(attributes, {"number": number}))
        while True:
            try:
                headers = {**message.headers, "authorization": f"Bearer {os.environ['KEY']}"}
                if (
                    client.post(f"{os.environ['HOST']}/v1/events", content=message.body, headers=headers).status_code
                    == 200
                ):
                    break
            except httpx.TransportError:
                pass
            time.sleep(0.2)
