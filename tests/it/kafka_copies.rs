//! The pipeline on Apache Kafka: the same records, whoever computes them, and whatever dies meanwhile.

use merit_tests::copies::Application;
use merit_tests::directory::{Directory, Profile, example};
use merit_tests::kafka::Kafka;
use std::time::Duration;

#[test]
fn two_copies_take_the_real_trace() {
    let kafka = Kafka::start(1);
    let application = Application::begin(&kafka, Directory::new(Profile::Example));
    let copies = ["a", "b"].map(|name| application.copy(name));
    application.send(&application.inputs(&example()), Duration::ZERO);
    application.wait_drained();
    for copy in copies {
        let done = copy.stop();
        println!("{}", done.err);
    }
}
