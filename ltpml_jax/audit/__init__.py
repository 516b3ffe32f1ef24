"""Which labels of a training set to distrust, for people and for other tools."""
