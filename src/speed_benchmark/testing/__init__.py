"""An engine with a virtual clock and a script of faults, for the tests of what surrounds engines."""
