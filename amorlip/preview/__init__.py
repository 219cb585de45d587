"""Every table and figure of the paper from stand-ins, before anything is trained: `amorlip preview`."""
