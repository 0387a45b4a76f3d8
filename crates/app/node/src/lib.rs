//! One host: supervises its processes, carries a kernel, answers commands.
