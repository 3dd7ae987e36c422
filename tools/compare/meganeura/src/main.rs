//! The training steps in meganeura: `step T1|T2|T3|T4 COUNT`.

mod bert;
mod lstm;
#[path = "../../../../benches/support/timed.rs"]
mod timed;
#[path = "../../../../src/doctor/steps/tokens.rs"]
mod tokens;

use std::error::Error;

use meganeura::{Graph, NodeId, Session, SessionConfig};
use timed::{Asked, Program};
use tokens::tokens;

/// What is given to a session that runs a step.
enum Input {
    Ids(Vec<u32>),
    Values(Vec<f32>),
}

/// A step to run.
struct Case {
    graph: Graph,
    inputs: Vec<(String, Input)>,
    parameters: Vec<(String, Vec<f32>)>,
    tokens: usize,
    weight_decay: f32,
    random: u64,
}

impl Case {
    fn new(tokens: usize, weight_decay: f32) -> Case {
        Case {
            graph: Graph::new(),
            inputs: Vec::new(),
            parameters: Vec::new(),
            tokens,
            weight_decay,
            random: 1,
        }
    }

    /// A parameter of numbers in (-bound, bound).
    fn parameter(&mut self, name: &str, shape: &[usize], bound: f32) -> NodeId {
        let mut draw = || {
            self.random = self
                .random
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (self.random >> 33) as f32 / (1u64 << 30) as f32 - 1.0
        };
        let values = (0..shape.iter().product())
            .map(|_| bound * draw())
            .collect();
        self.parameters.push((name.into(), values));
        self.graph.parameter(name, shape)
    }

    /// A parameter that starts with the same number everywhere.
    fn filled(&mut self, name: &str, size: usize, value: f32) -> NodeId {
        self.parameters.push((name.into(), vec![value; size]));
        self.graph.parameter(name, &[size])
    }

    fn ids(&mut self, name: &str, ids: Vec<u32>) -> NodeId {
        let node = self.graph.input_u32(name, &[ids.len()]);
        self.inputs.push((name.into(), Input::Ids(ids)));
        node
    }

    /// The loss of `logits` (N, classes), which the step is then about.
    fn cross_entropy(&mut self, logits: NodeId, targets: &[u32], classes: usize) {
        let mut labels = vec![0.0; targets.len() * classes];
        for (row, &target) in targets.iter().enumerate() {
            labels[row * classes + target as usize] = 1.0;
        }
        let node = self.graph.input("labels", &[targets.len(), classes]);
        self.inputs.push(("labels".into(), Input::Values(labels)));
        let loss = self.graph.cross_entropy_loss(logits, node);
        self.graph.set_outputs(vec![loss]);
    }

    fn session(self) -> Session {
        let (mut session, _) = meganeura::build(&self.graph, SessionConfig::from_env());
        for (name, values) in &self.parameters {
            session.set_parameter(name, values);
        }
        for (name, input) in &self.inputs {
            match input {
                Input::Ids(ids) => session.set_input_u32(name, ids),
                Input::Values(values) => session.set_input(name, values),
            }
        }
        session.set_adam(1e-3, 0.9, 0.999, 1e-8);
        session.set_weight_decay(self.weight_decay);
        session
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let asked = Asked::new("vulkan")?;
    let case = match asked.step.as_str() {
        "T1" => lstm::language_model(),
        "T2" => bert::masked_lm(),
        "T3" => bert::lora(),
        "T4" => lstm::classifier(),
        other => return Err(format!("no step {other}").into()),
    };
    let tokens = case.tokens;
    let mut session = case.session();
    let memory = session.memory_summary();
    let device_bytes = memory.allocated_buffer_bytes + memory.adam_state_bytes;
    let program = Program {
        framework: "meganeura",
        version: "0.3.0",
        adapter: Some(session.device_information().device_name.clone()),
        tokens,
    };
    let step = || -> Result<f32, Box<dyn Error>> {
        session.step();
        session.wait();
        Ok(session.read_loss())
    };
    let peak = || Some(device_bytes as f64 / 1048576.0);
    timed::report(&asked, program, step, peak)
}
