"""Records into tables and figures. Imports results only; never runs a method."""
