"""The node's agent: policy routing for attached ENIs and overlay addresses, exactly reversible."""
