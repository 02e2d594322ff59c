"""Face and landmark detectors behind one protocol, crops and gates."""
