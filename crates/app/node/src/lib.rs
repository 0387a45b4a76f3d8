//! One host: supervises its processes, carries a kernel, answers commands.

mod desired_form;
pub mod events;
pub mod kernel_runner;
