//! The door from outside: real sockets on loopback, small limits.

mod app;
mod bodies;
mod crowds;
mod document;
mod frames;
mod heads;
mod times;
mod wire;
