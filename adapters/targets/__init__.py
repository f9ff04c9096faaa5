"""One file per training format that is written; the contract is `ftbridge.core.plugins.Target`."""
