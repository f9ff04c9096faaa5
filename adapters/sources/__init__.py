"""One file per format that is read; the contract is `ftbridge.core.plugins.Source`."""
