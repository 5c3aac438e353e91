"""The engine of the suite: plan, train, store, report; knows no method or dataset by name."""
