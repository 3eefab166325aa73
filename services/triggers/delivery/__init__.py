"""Getting messages to people: leased rows, the inbox, webhooks."""
