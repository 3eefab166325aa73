// @segment/analytics-node
import { Analytics } from "@segment/analytics-node";

const { KEY, HOST, CUSTOMER, COUNT } = process.env;
const analytics = new Analytics({ writeKey: KEY, host: HOST, flushAt: 5, flushInterval: 100, maxRetries: 10 });
for (let number = 0; number < Number(COUNT); number++)
  analytics.track({ userId: CUSTOMER, event: `Event ${number}`, properties: { number } });
await analytics.closeAndFlush({ timeout: 60000 });
