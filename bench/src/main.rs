//! Measures bptt against its peers and against the roof.

mod case;
mod own;
mod roof;

use case::{CELLS, Case};
use std::time::Instant;

fn main() {
    let names: Vec<String> = std::env::args().skip(1).collect();
    let roofs = [roof::measure(1), roof::measure(2)];
    println!("{} roof {:.1} {:.1} GFLOP/s", bptt::kernel::registers::name(), roofs[0] / 1e9, roofs[1] / 1e9);
    for name in &names {
        for cell in CELLS {
            let Some(case) = Case::named(name, cell) else { continue };
            let pool = rayon::ThreadPoolBuilder::new().num_threads(case.threads).build().unwrap();
            let mut job = own::Job::new(&case);
            pool.install(|| {
                job.run();
                job.run();
                let mut times: Vec<f64> = (0..9)
                    .map(|_| {
                        let start = Instant::now();
                        job.run();
                        start.elapsed().as_secs_f64()
                    })
                    .collect();
                times.sort_by(f64::total_cmp);
                let median = times[times.len() / 2];
                let roof = case.flops() / roofs[case.threads - 1];
                println!(
                    "{case:8} {:9.3} ms (best {:9.3}), roof {:9.3} ms, {:5.1} %",
                    1e3 * median,
                    1e3 * times[0],
                    1e3 * roof,
                    100.0 * roof / median
                );
            });
        }
    }
}
