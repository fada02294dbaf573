//! The binary `quipu`.

fn main() -> std::process::ExitCode {
    quipu::cli::main()
}
