"""What a source sends, as it comes, for the developer who integrates it."""
