// What changes from step to step: 28 bytes, written by the host before each. Everything else in a
// step is recorded once and replayed.
struct StepState {
    step: u32,       // optimiser steps including this one, from 1
    draw: u32,       // forward passes so far: the generator's counter, so that no two share masks
    seed_lo: u32,    // the run's seed
    seed_hi: u32,
    lr: f32,         // learning rate of the schedule
    bias1: f32,      // 1 - beta1^step, from the host: a power in f32 drifts
    bias2: f32,      // 1 - beta2^step
}
