"""Networks, frozen encoders and losses; they know nothing of data or runs."""
