//! What both builds are asked to do.

/// Where the numbers of a case are.
pub enum Output {
    /// JSON on stdout.
    Json,
    /// A file of comma-separated values.
    Table(&'static str),
    /// A safetensors file.
    Tensors(&'static str),
    /// A run's folder.
    Run(String),
}

/// One call of the command.
pub struct Case {
    /// Its name in the table.
    pub name: &'static str,
    /// The first part of its numbers' paths.
    pub schema: &'static str,
    /// The arguments, relative to the build's own folder.
    pub args: Vec<String>,
    /// What it leaves behind.
    pub output: Output,
    /// Whether a failure is an answer, as that of a check.
    pub may_fail: bool,
}

/// Trainings: the run's name and the settings. Together they use every cell, optimizer and regularizer.
const TRAININGS: [(&str, &str); 11] = [
    (
        "train 200 updates",
        "--text ../inputs/text.txt --cell lstm --hidden 32 --batch 8 --window 32 --steps 200 --seed 1 --trace-every 50 \
         --evaluate-every 50",
    ),
    (
        "train rnn",
        "--text ../inputs/text.txt --cell rnn --hidden 16 --init orthogonal --optimizer sgd:momentum=0.9 --learning-rate 0.05 \
         --clip-norm 0.5 --omega 0.5 --steps 30 --trace-every 10",
    ),
    (
        "train rnn_relu",
        "--text ../inputs/text.txt --level word --cell rnn_relu --hidden 16 --init identity --optimizer rmsprop --steps 30 \
         --sigma-max 0.9 --trace-every 10",
    ),
    (
        "train rnn_identity",
        "--text ../inputs/text.txt --cell rnn_identity --hidden 16 --init normal:0.1 --spectral-radius 0.9 --optimizer adagrad \
         --steps 30 --trace-every 10",
    ),
    (
        "train rnn_leaky",
        "--text ../inputs/text.txt --cell rnn_leaky:0.25 --hidden 12 --layers 2 --dropout 0.2 --steps 30 --trace-every 10",
    ),
    (
        "train lstm_1997",
        "--task adding --length 20 --cell lstm_1997 --hidden 8 --input-bias=-1 --clip-value 0.1 --steps 30 --trace-every 10",
    ),
    (
        "train lstm_stack",
        "--text ../inputs/text.txt --cell lstm --hidden 12 --layers 2 --forget-bias 1 --detach-every 16 --optimizer adamw \
         --schedule cosine:warmup=5,floor=0.1 --steps 30 --trace-every 10",
    ),
    (
        "train gru",
        "--text ../inputs/text.txt --cell gru --hidden 12 --layers 2 --bidirectional --init xavier --zero-biases --steps 30 \
         --trace-every 10",
    ),
    (
        "train gru_reset_before",
        "--text ../inputs/text.txt --cell gru_reset_before --hidden 12 --init sparse:nonzeros=4,std=0.5 --steps 30 \
         --trace-every 10",
    ),
    (
        "train task",
        "--task temporal_order --length 20 --cell lstm --hidden 8 --chrono 20 --batch 16 --steps 40 --trace-every 10",
    ),
    (
        "train flossing",
        "--task delayed_xor:delay=4 --length 20 --hidden 10 --floss 5 --floss-exponents 4 --steps 20 --trace-every 10",
    ),
];

/// Ledgers of the old build's runs: the training's name and the options.
const RUN_TRACES: [(&str, &str, &str); 9] = [
    ("trace run", "train 200 updates", "--paths --gates"),
    ("trace run tolerance", "train 200 updates", "--steps 100 --tolerance 1e-6 --batch 2"),
    ("trace run rnn", "train rnn", "--steps 40 --detach-every 8 --burn-in 4"),
    ("trace run rnn_relu", "train rnn_relu", "--steps 20 --batch 3 --gates"),
    ("trace run rnn_leaky", "train rnn_leaky", "--steps 40 --paths --gates"),
    ("trace run lstm_1997", "train lstm_1997", "--paths --gates"),
    ("trace run lstm_stack", "train lstm_stack", "--steps 40 --paths --gates --layer 1"),
    ("trace run gru", "train gru", "--steps 24 --paths --gates --direction reverse --batch 2"),
    ("trace run task", "train task", "--parameter bias"),
];

/// Ledgers of models: the model's name and the options, where `@` stands for the path of the model's arrays.
const MODEL_TRACES: [(&str, &str, &str); 18] = [
    ("trace rnn", "rnn", "--input @x.npy --seeds @dh.npy"),
    ("trace rnn embedding", "rnn", "--input @ids.npy --target @target.npy --detach-every 5 --burn-in 2"),
    (
        "trace rnn stack",
        "rnn-2",
        "--input @x.npy --target @real-target.npy --lengths @lengths.npy --h0 @h0.npy",
    ),
    (
        "trace rnn_relu",
        "relu",
        "--cell rnn_relu --input @x.npy --target @real-target.npy --mask @mask.npy --gates --paths",
    ),
    (
        "trace rnn_identity",
        "identity",
        "--cell rnn_identity --input @x.npy --seeds @dh.npy --lengths @lengths.npy",
    ),
    ("trace vanishing", "vanishing", "--input @x.npy --seeds @dh.npy"),
    ("trace vanishing tolerance", "vanishing", "--input @x.npy --seeds @dh.npy --tolerance 1e-8"),
    ("trace lstm", "lstm", "--input @x.npy --target @target.npy --h0 @h0.npy --c0 @c0.npy --paths --gates"),
    (
        "trace lstm resets",
        "lstm",
        "--input @x.npy --target @target.npy --resets @resets.npy --reduction mean",
    ),
    (
        "trace lstm stack",
        "lstm-2",
        "--input @x.npy --seeds @dh.npy --resets @resets.npy --paths --gates --layer 1",
    ),
    (
        "trace lstm both",
        "lstm-both",
        "--input @x.npy --target @target.npy --lengths @lengths.npy --paths --gates",
    ),
    ("trace lstm tolerance", "lstm-long", "--input @x.npy --target @target.npy --tolerance 1e-6 --gates"),
    ("trace gru", "gru", "--input @x.npy --seeds @dh.npy --resets @resets.npy --h0 @h0.npy --paths --gates"),
    (
        "trace gru both",
        "gru-both",
        "--input @x.npy --target @real-target.npy --reduction mean --lengths @lengths.npy --gates",
    ),
    (
        "trace gru_reset_before",
        "reset-before",
        "--cell gru_reset_before --input @x.npy --target @target.npy --lengths @lengths.npy --paths --gates",
    ),
    (
        "trace gru_reset_before tolerance",
        "reset-before",
        "--cell gru_reset_before --input @ids.npy --seeds @dh.npy --tolerance 1e-2 --resets @resets.npy",
    ),
    ("trace Keras lstm", "keras-lstm", "--input @x.npy --target @target.npy --paths"),
    ("trace Keras gru", "keras-gru", "--input @x.npy --seeds @dh.npy --gates"),
];

/// The folder of a training, relative to its build's.
fn folder(training: &str) -> String {
    format!("runs/{}", training.replace(' ', "-"))
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// All cases, trainings first.
pub fn all() -> Vec<Case> {
    let mut all: Vec<Case> = TRAININGS.iter().map(|(name, settings)| training(name, settings)).collect();
    all.extend(RUN_TRACES.iter().map(|(name, run, options)| {
        json(name, "ledger", &format!("trace ../old/{} --json {options}", folder(run)))
    }));
    all.extend(MODEL_TRACES.iter().map(|(name, model, options)| {
        let options = options.replace('@', &format!("../inputs/{model}."));
        json(name, "ledger", &format!("trace --model ../inputs/{model}.safetensors --json {options}"))
    }));
    let run = |training: &str| format!("../old/{}", folder(training));
    let (text, task) = (run("train 200 updates"), run("train task"));
    let lstm =
        "--model ../inputs/lstm.safetensors --input ../inputs/lstm.x.npy --target ../inputs/lstm.target.npy";
    all.extend([
        json("article", "ledger", "article --json"),
        json("diagnose run", "diagnosis", &format!("diagnose {text} --lag 10 --update --precision --json")),
        json("diagnose task", "diagnosis", &format!("diagnose {task} --update --precision --json")),
        json("diagnose model", "diagnosis", &format!("diagnose {lstm} --lag 6 --precision --json")),
        Case {
            may_fail: true,
            ..json("check run", "check", &format!("check {text} --min-horizon 20 --max-decay 0.1 --no-cuts --lag 10 --json"))
        },
        json("inspect run", "inspection", &format!("inspect {} --json", run("train gru"))),
        json("inspect model", "inspection", "inspect ../inputs/lstm-both.safetensors --json"),
        json("sample", "sample", &format!("sample {text} --length 100 --json")),
        json("tasks", "tasks", "tasks --json"),
        json("demo", "demo", "demo --steps 40 --out demo --no-report --json"),
        json(
            "compare",
            "comparison",
            "compare --task copy_memory --length 10 --remedy none,clip,lstm --seeds 1 --steps 20 --hidden 8 --out compare --json",
        ),
        table("table of a ledger", "entries.csv", &format!("trace {text} --gates --out entries.csv")),
        table(
            "table of a model's ledger",
            "vanishing.csv",
            "trace --model ../inputs/vanishing.safetensors --input ../inputs/vanishing.x.npy --seeds ../inputs/vanishing.dh.npy \
             --out vanishing.csv",
        ),
        Case {
            output: Output::Tensors("exported.safetensors"),
            ..json("export", "weights", "export ../inputs/keras-lstm.safetensors --to exported.safetensors")
        },
    ]);
    all
}

fn json(name: &'static str, schema: &'static str, args: &str) -> Case {
    Case { name, schema, args: words(args), output: Output::Json, may_fail: false }
}

fn table(name: &'static str, file: &'static str, args: &str) -> Case {
    Case { output: Output::Table(file), ..json(name, "entries", args) }
}

fn training(name: &'static str, settings: &str) -> Case {
    let folder = folder(name);
    let args = format!("train {settings} --out {folder} --no-report");
    Case { output: Output::Run(folder), ..json(name, "run", &args) }
}

impl Case {
    /// Whether it is selected, or makes what others read.
    pub fn is_needed(&self, only: &[String]) -> bool {
        let selected = only.is_empty() || only.iter().any(|part| self.name.contains(part));
        selected || matches!(self.output, Output::Run(_))
    }
}
