//! What the threads of a screen have in common: the latest view, how it is to be looked at, and whether it is over.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::draw::{Look, SCALES_S};
use super::view::View;

/// How long to sleep without anything to draw before looking whether it is over: a wake may have been missed.
const LOOK: Duration = Duration::from_secs(1);

/// What the drawing thread is to do.
pub(super) enum Order {
    /// Draw this.
    Draw(Arc<View>, Look),
    /// End.
    End,
}

/// The latest view and the settings. Whoever measures never waits for it.
#[derive(Default)]
pub(super) struct Slot {
    held: Mutex<Held>,
    changed: Condvar,
    is_over: AtomicBool,
}

#[derive(Default)]
struct Held {
    view: Option<Arc<View>>,
    look: Look,
    is_new: bool,
}

impl Slot {
    /// Puts a view in, unless somebody is looking just now.
    pub(super) fn put(&self, view: View) {
        let Ok(mut held) = self.held.try_lock() else { return };
        held.view = Some(Arc::new(view));
        held.is_new = true;
        drop(held);
        self.changed.notify_one();
    }

    /// Changes how it is looked at, and draws again.
    pub(super) fn change(&self, change: impl FnOnce(&mut Look)) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut held.look);
        held.is_new = true;
        drop(held);
        self.changed.notify_one();
    }

    /// It is over.
    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::Release);
        self.changed.notify_one();
    }

    /// Whether it is over.
    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// Waits until `next`, and then for something to draw.
    pub(super) fn wait(&self, next: Instant) -> Order {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if self.is_over() {
                return Order::End;
            }
            let pause = next.saturating_duration_since(Instant::now());
            if pause.is_zero() && held.is_new {
                if let Some(view) = &held.view {
                    let order = Order::Draw(Arc::clone(view), held.look);
                    held.is_new = false;
                    return order;
                }
                held.is_new = false;
            }
            let pause = if pause.is_zero() { LOOK } else { pause };
            held = self.changed.wait_timeout(held, pause).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Look {
    /// Fewer seconds in the same width.
    pub(super) fn nearer(&mut self) {
        self.scale = self.scale.saturating_sub(1);
    }

    /// More of them.
    pub(super) fn further(&mut self) {
        self.scale = (self.scale + 1).min(SCALES_S.len() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::super::view::LoadView;
    use super::*;

    fn view(elapsed_s: f64) -> View {
        View::Load(Box::new(LoadView { elapsed_s, ..LoadView::default() }))
    }

    fn elapsed_s(order: &Order) -> Option<f64> {
        match order {
            Order::Draw(view, _) => match &**view {
                View::Load(view) => Some(view.elapsed_s),
                View::Serve(_) => None,
            },
            Order::End => None,
        }
    }

    #[test]
    fn the_latest_view_is_drawn_and_not_before_its_time() {
        let slot = Slot::default();
        slot.put(view(1.0));
        slot.put(view(2.0));
        let next = Instant::now() + Duration::from_millis(50);
        assert_eq!(elapsed_s(&slot.wait(next)), Some(2.0));
        assert!(Instant::now() >= next);
    }

    #[test]
    fn whoever_measures_does_not_wait_for_a_slot_that_is_held() {
        let slot = Slot::default();
        let held = slot.held.lock().unwrap();
        slot.put(view(1.0));
        drop(held);
        slot.put(view(3.0));
        assert_eq!(elapsed_s(&slot.wait(Instant::now())), Some(3.0));
    }

    #[test]
    fn a_changed_look_draws_the_same_view_again_and_has_its_bounds() {
        let slot = Slot::default();
        slot.put(view(1.0));
        slot.wait(Instant::now());
        (0..20).for_each(|_| slot.change(Look::further));
        let Order::Draw(_, look) = slot.wait(Instant::now()) else { panic!("nothing to draw") };
        assert_eq!(look.scale, SCALES_S.len() - 1);
        (0..20).for_each(|_| slot.change(Look::nearer));
        let Order::Draw(_, look) = slot.wait(Instant::now()) else { panic!("nothing to draw") };
        assert_eq!(look.scale, 0);
        slot.end();
        assert!(matches!(slot.wait(Instant::now() + LOOK * 60), Order::End));
    }
}
