//! Sysfs trees as kernels show them, and what the inventory makes of them.
