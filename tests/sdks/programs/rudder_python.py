"""rudder-sdk-python."""

import os

import rudderstack.analytics as rudder

rudder.write_key = os.environ["KEY"]
rudder.dataPlaneUrl = os.environ["HOST"]
rudder.default_client = rudder.Client(rudder.write_key, host=rudder.dataPlaneUrl, upload_size=5, upload_interval=0.1)
for number in range(int(os.environ["COUNT"])):
    rudder.default_client.track(os.environ["CUSTOMER"], f"Event {number}", {"number": number})
rudder.default_client.flush()
rudder.default_client.join()
