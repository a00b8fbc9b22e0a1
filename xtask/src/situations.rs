/// The situations.
const SITUATIONS: [Situation; 30] = [
    of("symbols drawn at random", "--hidden 32 --steps 300", "nothing_to_learn").reads(Data::Random),
    of("an untrained network", "--generate cue_sentences --sentences 500 --steps 0", "cannot_tell"),
    of(
        "a task that is solved",
        "--task parity --length 3 --hidden 32 --steps 1500 --learning-rate 0.01",
        "learned",
    ),
    of(
        "words learned by heart",
        "--generate cue_sentences --sentences 120 --level word --unk --held-out 0.4 --cell lstm --hidden 128 --window 16 --batch 8 \
         --steps 600 --evaluate-every 50 --learning-rate 0.01",
        "overfits",
    )
    .advised(),
    of(
        "a learning rate of 100",
        "--generate cue_sentences --sentences 2000 --level word --steps 200 --hidden 32 --learning-rate 100",
        "updates_too_large",
    )
    .advised(),
    of(
        "Adam with a learning rate of 3",
        "--generate cue_sentences --sentences 2000 --steps 200 --hidden 32 --learning-rate 3",
        "updates_too_large",
    )
    .advised(),
    of(
        "a learning rate of 1e-9",
        "--generate cue_sentences --sentences 2000 --steps 200 --hidden 32 --learning-rate 1e-9",
        "updates_too_small",
    )
    .advised(),
    of(
        "clipping to a norm of 1e-7",
        "--generate cue_sentences --sentences 2000 --steps 200 --hidden 32 --optimizer sgd --learning-rate 1 --clip-norm 1e-7",
        "updates_too_small",
    )
    .advised(),
    of(
        "a character model of a text",
        "--generate cue_sentences --sentences 3000 --hidden 64 --steps 600 --learning-rate 5e-3",
        "decays",
    ),
    of(
        "an LSTM of a text",
        "--generate cue_sentences --sentences 3000 --cell lstm --hidden 48 --steps 600 --learning-rate 1e-2",
        "decays",
    ),
    of(
        "a GRU of a text",
        "--generate cue_sentences --sentences 3000 --cell gru --hidden 48 --steps 600 --learning-rate 1e-2",
        "decays",
    ),
    of(
        "a window of 3 steps",
        "--generate cue_sentences --sentences 2000 --hidden 32 --steps 600 --window 3 --learning-rate 1e-2",
        "cannot_tell",
    ),
    of(
        "a window of one step",
        "--generate cue_sentences --sentences 2000 --hidden 32 --steps 600 --window 1 --learning-rate 1e-2",
        "cannot_tell",
    ),
    of(
        "gradients cut every 5 steps",
        "--task temporal_order --length 20 --cell lstm --hidden 24 --steps 300 --learning-rate 1e-2 --detach-every 5",
        "cut",
    )
    .advised(),
    of(
        "burn-in that ends after the dependency",
        "--task noisy_latch --length 20 --cell lstm --hidden 16 --steps 20 --forget-bias 3",
        "cut",
    )
    .diagnosed("--burn-in 15"),
    of(
        "an orthogonal W_hh times 0.3",
        "--task noisy_latch --length 20 --hidden 24 --steps 400 --init orthogonal --sigma-max 0.3 --learning-rate 5e-3",
        "vanishes",
    )
    .advised(),
    of(
        "a tanh RNN and a dependency 60 steps back",
        "--task noisy_latch --length 60 --hidden 24 --steps 200 --learning-rate 2e-3",
        "vanishes",
    )
    .advised(),
    of(
        "relu units of gain 1.5",
        "--task adding --length 40 --cell rnn_relu --hidden 24 --init identity --sigma-max 1.5 --steps 100 --learning-rate 1e-4",
        "explodes",
    )
    .advised(),
    of(
        "a state without bound",
        "--task adding --length 400 --cell rnn_identity --hidden 16 --init identity --sigma-max 1.6 --steps 50 --clip-norm 0",
        "not_finite",
    ),
    of(
        "relu units that died",
        "--task adding --length 20 --cell rnn_relu --hidden 24 --steps 100 --learning-rate 1 --optimizer sgd --clip-norm 0",
        "dead_units",
    )
    .advised(),
    of(
        "tanh units at their ends",
        "--task noisy_latch --length 20 --hidden 24 --steps 100 --init normal:8 --init-others normal:8",
        "saturated",
    ),
    of(
        "forget gates closed",
        "--task noisy_latch --length 20 --cell lstm --hidden 24 --steps 100 --forget-bias -8",
        "saturated",
    )
    .advised(),
    of(
        "input gates closed",
        "--task noisy_latch --length 20 --cell lstm --hidden 24 --steps 100 --input-bias -12 --forget-bias 3",
        "saturated",
    )
    .advised(),
    of(
        "forget gates open",
        "--task noisy_latch --length 20 --cell lstm --hidden 24 --steps 20 --forget-bias 6 --learning-rate 1e-4",
        "reaches",
    ),
    of("one symbol, over and over", "--hidden 16 --steps 200", "nothing_to_learn").reads(Data::Constant),
    of("a sentence, over and over", "--hidden 48 --steps 300 --learning-rate 5e-3", "decays").reads(Data::Repeated),
    of(
        "a training that got worse again",
        "--generate cue_sentences --sentences 3000 --hidden 48 --optimizer sgd --learning-rate 0.5 --clip-norm 0 --steps 400 \
         --schedule step:every=250,factor=10 --evaluate-every 50",
        "worsened",
    ),
    of(
        "a task that needs more updates",
        "--task parity --length 16 --cell lstm --hidden 16 --steps 100 --forget-bias 4",
        "learned_nothing",
    ),
    of(
        "two layers with dropout",
        "--generate cue_sentences --sentences 3000 --layers 2 --dropout 0.2 --hidden 48 --steps 500 --learning-rate 5e-3",
        "decays",
    ),
    of(
        "leaky units with a long time constant",
        "--task noisy_latch --length 20 --cell rnn_leaky:0.02 --hidden 24 --steps 20 --learning-rate 1e-4",
        "reaches",
    ),
];
