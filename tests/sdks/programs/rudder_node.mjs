// @rudderstack/rudder-sdk-node
import RudderAnalytics from "@rudderstack/rudder-sdk-node";

const { KEY, HOST, CUSTOMER, COUNT } = process.env;
const client = new RudderAnalytics(KEY, {
  dataPlaneUrl: HOST, flushAt: 5, flushInterval: 100, retryCount: 10, errorHandler: (error) => console.error(error.message),
});
for (let number = 0; number < Number(COUNT); number++)
  client.track({ userId: CUSTOMER, event: `Event ${number}`, properties: { number } });
await client.flush();
setTimeout(() => process.exit(0), 60000);
