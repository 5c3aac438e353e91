"""The leaderboard: one HTML page of all methods on all datasets, `report --format leaderboard`."""
